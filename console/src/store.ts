/** Choices of the user that stay in the browser: last project, theme, zone of times. */
import { effect, type Signal, signal } from "@preact/signals";
import type { Memory } from "./routes.ts";

/**
 * Return a signal whose value is kept in the browser's storage.
 *
 * @param key Name in the storage, below `flyte.`.
 * @param initial Value where there is none, or where the kept one cannot be read.
 * @param storage `localStorage` for choices, `sessionStorage` for drafts.
 */
export function kept<T>(key: string, initial: T, storage: Storage | undefined = safeStorage()): Signal<T> {
  const name = `flyte.${key}`;
  const found = signal<T>(read(name, initial, storage));
  let first = true;
  effect(() => {
    const value = found.value;
    if (first) {
      first = false;
      return;
    }
    try {
      storage?.setItem(name, JSON.stringify(value));
    } catch {
      // Private windows and full quotas refuse; the choice then lasts as long as the page.
    }
  });
  return found;
}

function read<T>(name: string, initial: T, storage: Storage | undefined): T {
  try {
    const text = storage?.getItem(name);
    return text ? (JSON.parse(text) as T) : initial;
  } catch {
    return initial;
  }
}

/** Return `localStorage`; undefined where the browser forbids it. */
function safeStorage(): Storage | undefined {
  try {
    return window.localStorage;
  } catch {
    return undefined;
  }
}

/** Project and domain of the last page that had them. */
export const lastPlace = kept<Memory>("place", {});

export type Theme = "system" | "light" | "dark";
export const theme = kept<Theme>("theme", "system");

export type Zone = "local" | "utc" | "relative";
export const zone = kept<Zone>("zone", "local");
