/** Drafts of forms in sessionStorage: they survive a login and a reload, and end with the tab. */

import type { Form } from "../../model/launch.ts";

/** Characters of one draft; a larger one is not kept. */
const DRAFT_CHARACTERS_MAX = 1_000_000;
const PREFIX = "flyte.launch.";

export function readDraft(key: string): Form | null {
  try {
    const text = window.sessionStorage.getItem(PREFIX + key);
    return text ? (JSON.parse(text) as Form) : null;
  } catch {
    // The browser forbids storage, or another version of the console wrote the draft: the form starts fresh.
    return null;
  }
}

export function writeDraft(key: string, form: Form): void {
  try {
    const text = JSON.stringify(form);
    if (text.length <= DRAFT_CHARACTERS_MAX) window.sessionStorage.setItem(PREFIX + key, text);
    else window.sessionStorage.removeItem(PREFIX + key);
  } catch {
    // Private windows and full quotas refuse; the draft then lasts as long as the page.
  }
}

export function dropDraft(key: string): void {
  try {
    window.sessionStorage.removeItem(PREFIX + key);
  } catch {
    // As in writeDraft.
  }
}
