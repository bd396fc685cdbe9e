/** The run grid of a workflow: its nodes × its last executions, so that one sees since when a node fails or slows down. */

import { isSlower } from "./compare.ts";

/** Executions in the grid. */
export const RUNS_MAX = 25;

/** Rows of the grid; a workflow with more nodes shows those first that failed or changed. */
export const ROWS_MAX = 500;

/** Runs on either side that a slow-down needs. */
export const SLOW_RUNS_MIN = 3;

/** One node in one execution. */
export interface GridCell {
  readonly phase: string;
  readonly seconds: number | undefined;
  readonly cached: boolean;
}

/** One execution: the nodes by id, or undefined while they are not loaded. */
export interface GridRun {
  readonly name: string;
  readonly nodes: ReadonlyMap<string, GridCell> | undefined;
}

/** One node. `cells` has one place per run, the oldest first. */
export interface GridRow {
  readonly id: string;
  readonly cells: readonly (GridCell | undefined)[];
  readonly verdict: Verdict;
}

/** What the last runs of a node show; `since` is an index of a run. */
export type Verdict =
  | { readonly kind: "failing"; readonly since: number; readonly runs: number }
  | { readonly kind: "slower"; readonly since: number; readonly factor: number }
  | { readonly kind: "flaky"; readonly failed: number; readonly of: number }
  | { readonly kind: "steady" };

const ENDS = new Set(["start-node", "end-node"]);
const FAILED = new Set(["FAILED", "FAILING", "TIMED_OUT"]);
const ORDER: Readonly<Record<Verdict["kind"], number>> = { failing: 0, slower: 1, flaky: 2, steady: 3 };

/**
 * Return the rows of the grid.
 *
 * @param runs - The executions, the oldest first.
 * @param order - Ids of nodes in the order of the workflow; nodes of older versions follow.
 */
export function gridRows(runs: readonly GridRun[], order: readonly string[] = []): GridRow[] {
  const ids = new Set(order.filter((id) => !ENDS.has(id)));
  for (const run of [...runs].reverse()) for (const id of run.nodes?.keys() ?? []) if (!ENDS.has(id)) ids.add(id);
  const rows = [...ids].map((id) => {
    const cells = runs.map((run) => run.nodes?.get(id));
    return { id, cells, verdict: verdictOf(cells) };
  });
  if (rows.length <= ROWS_MAX) return rows;
  return rows.sort((left, right) => ORDER[left.verdict.kind] - ORDER[right.verdict.kind]).slice(0, ROWS_MAX);
}

/** Return whether a phase of a node counts as a failure. */
export function isFailed(phase: string): boolean {
  return FAILED.has(phase);
}

/** Judge a node by its cells, the oldest first. Runs in which the node did not run are passed over. */
export function verdictOf(cells: readonly (GridCell | undefined)[]): Verdict {
  const ended = cells.flatMap((cell, index) =>
    cell && (isFailed(cell.phase) || cell.phase === "SUCCEEDED") ? [{ ...cell, index }] : [],
  );
  const failed = ended.filter((cell) => isFailed(cell.phase));
  const lastGood = ended.findLastIndex((cell) => !isFailed(cell.phase));
  const streak = ended.slice(lastGood + 1);
  const first = streak[0];
  if (first) return { kind: "failing", since: first.index, runs: streak.length };
  const slow = slowdown(ended.filter((cell) => !cell.cached && !isFailed(cell.phase)));
  if (slow) return slow;
  return failed.length > 0 ? { kind: "flaky", failed: failed.length, of: ended.length } : { kind: "steady" };
}

/** Find the run since which all runs took longer than the median of the runs before; the largest step wins. */
function slowdown(cells: readonly (GridCell & { readonly index: number })[]): Verdict | undefined {
  const timed = cells.flatMap(({ seconds, index }) => (seconds === undefined ? [] : [{ seconds, index }]));
  let best: { since: number; factor: number } | undefined;
  for (let cut = SLOW_RUNS_MIN; cut <= timed.length - SLOW_RUNS_MIN; cut += 1) {
    const before = median(timed.slice(0, cut).map((one) => one.seconds));
    const after = timed.slice(cut).map((one) => one.seconds);
    const since = timed[cut];
    if (!since || !after.every((seconds) => isSlower(seconds, before))) continue;
    const factor = median(after) / Math.max(before, 0.001);
    if (!best || factor > best.factor) best = { since: since.index, factor };
  }
  return best && { kind: "slower", ...best };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  const middle = sorted.length >> 1;
  const [low, high] = [sorted[middle - 1] ?? 0, sorted[middle] ?? 0];
  return sorted.length % 2 ? high : (low + high) / 2;
}

/** Return the height of a cell's bar, between 0 and 1, against the longest run of its node. */
export function share(cell: GridCell | undefined, row: readonly (GridCell | undefined)[]): number {
  const longest = Math.max(0, ...row.map((one) => one?.seconds ?? 0));
  return cell?.seconds && longest ? cell.seconds / longest : 0;
}
