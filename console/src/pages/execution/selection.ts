/**
 * What the address selects: `?tab=&node=&index=&attempt=&panel=&log=&line=`. Attempts count from 1, as they are shown.
 * Without `node`, the page selects a node itself: the first failed one, or the one that started last.
 */
import { computed, signal } from "@preact/signals";
import { query, setQuery } from "../../location.ts";
import type { AttemptAddress } from "../../routes.ts";

export const TABS = ["timeline", "graph", "io", "spec", "notifications"] as const;
export type TabKey = (typeof TABS)[number];

export const PANELS = [
  "log",
  "error",
  "indices",
  "arms",
  "answer",
  "inputs",
  "outputs",
  "deck",
  "task",
  "events",
] as const;
export type PanelKey = (typeof PANELS)[number];

export interface Selection {
  readonly tab: TabKey;
  /** The key of a row of the tree. */
  readonly node: string | undefined;
  readonly index: number | undefined;
  readonly attempt: number | undefined;
  readonly panel: PanelKey | undefined;
  /** The number of the log link, from 0. */
  readonly log: number;
  readonly line: string | undefined;
}

/** flyteconsole's names of tabs. */
const OLD_TABS: Record<string, TabKey> = { nodes: "timeline" };

/** The node that the page has selected by itself. */
export const autoNode = signal<string | undefined>(undefined);
/** Whether the user closed the panel of the node that the page selected. */
export const dismissed = signal(false);

export const selection = computed<Selection>(() => {
  const given = query.value;
  const tab = given.get("tab") ?? "timeline";
  const panel = given.get("panel") as PanelKey | null;
  return {
    tab: OLD_TABS[tab] ?? (TABS.includes(tab as TabKey) ? (tab as TabKey) : "timeline"),
    node: given.get("node") ?? (dismissed.value ? undefined : autoNode.value),
    index: numberOf(given.get("index"), 0),
    attempt: numberOf(given.get("attempt"), 1),
    panel: panel && PANELS.includes(panel) ? panel : undefined,
    log: numberOf(given.get("log"), 0) ?? 0,
    line: given.get("line") ?? undefined,
  };
});

function numberOf(text: string | null, least: number): number | undefined {
  const value = text && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
  return value !== undefined && value >= least ? value : undefined;
}

/** Select a row; "back" returns to the row before, where `push` is set. */
export function selectNode(key: string, push = true, panel?: PanelKey): void {
  dismissed.value = false;
  const same = selection.peek().node === key;
  const keep = panel ?? (same ? undefined : selection.peek().panel);
  setQuery(
    { node: key, ...(same && !panel ? {} : { index: null, attempt: null, log: null, line: null, panel: keep }) },
    { push },
  );
}

/** Close the panel. */
export function closePanel(): void {
  dismissed.value = true;
  setQuery({ node: null, index: null, attempt: null, panel: null, log: null, line: null }, { push: true });
}

const VIEWS: Record<string, PanelKey> = { logs: "log", io: "outputs", flytedecks: "deck", resources: "events" };

/** Return the query for an address of flyteconsole's detail view. */
export function queryOfAttempt(at: AttemptAddress): Record<string, string | number> {
  const attempt = Number(at.mappedAttempt ?? at.attempt);
  return {
    node: at.node,
    ...(Number.isInteger(attempt) ? { attempt: attempt + 1 } : {}),
    ...(at.index === undefined ? {} : { index: at.index }),
    ...(VIEWS[at.view] ? { panel: VIEWS[at.view] as PanelKey } : {}),
  };
}
