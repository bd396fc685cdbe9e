/** Executions as rows of a list, and how a live list changes. No DOM. */
import type { Execution } from "./api.ts";
import { asPhase, isTerminal, type Phase } from "./phases.ts";
import { durationMs, timeMs } from "./times.ts";

/** One row. */
export interface Run {
  name: string;
  phase: Phase;
  createdMs: number;
  startedAt: string | null;
  /** Duration in ms of one that ended. */
  ms: number | undefined;
  /** The workflow; the task where a task was run alone. */
  entity: { kind: "workflow" | "task"; name: string; version: string };
  /** The launch plan where it is named otherwise than its workflow. */
  launchPlan: { name: string; version: string } | null;
  user: string;
  mode: string;
  cause: string;
  archived: boolean;
}

/** flytekit's and the server's name of the workflow around a task that was run alone. */
const GENERATED = ".flytegen.";

/** Return the line of an error message that names the cause: the last one with text. */
export function causeLine(message: string | null | undefined): string {
  const lines = (message ?? "").split("\n").map((line) => line.trim());
  return lines.findLast((line) => line !== "" && !/^\^+$/.test(line)) ?? "";
}

/** Return the row of an execution. */
export function runOf(execution: Execution): Run {
  const { id, spec, closure } = execution;
  const phase = asPhase(closure?.phase);
  const launched = spec?.launch_plan;
  const workflow = closure?.workflow_id;
  const isTask = launched?.resource_type === "TASK";
  const name = isTask ? launched?.name : (workflow?.name ?? launched?.name);
  const plan = !isTask && launched?.name && launched.name !== workflow?.name ? launched : null;
  const aborted = closure?.abort_metadata?.cause ?? closure?.abort_cause;
  return {
    name: id?.name ?? "",
    phase,
    createdMs: timeMs(closure?.created_at) ?? 0,
    startedAt: closure?.started_at ?? closure?.created_at ?? null,
    ms: isTerminal(phase) ? durationMs(closure?.duration) : undefined,
    entity: {
      kind: isTask ? "task" : "workflow",
      name: (name ?? "").replace(GENERATED, ""),
      version: (isTask ? launched?.version : workflow?.version) ?? "",
    },
    launchPlan: plan ? { name: plan.name ?? "", version: plan.version ?? "" } : null,
    user: spec?.metadata?.principal ?? "",
    mode: spec?.metadata?.mode ?? "MANUAL",
    cause: causeLine(closure?.error?.message ?? aborted),
    archived: closure?.state_change_details?.state === "EXECUTION_ARCHIVED",
  };
}

/** Rows that a page shows. `waiting` newer ones are held back. */
export interface Shown {
  rows: readonly Run[];
  waiting: number;
  /** Names of rows that the filters do not select any more; they stay while the user is busy with the list. */
  gone: ReadonlySet<string>;
}

export const NOTHING_SHOWN: Shown = { rows: [], waiting: 0, gone: new Set() };

/**
 * Take a fresh first page into the rows, the newest first.
 *
 * @param before The rows so far.
 * @param known Every row that was loaded, by name; changed in place.
 * @param page The first page: what is created later than its last row and missing in it is selected no more.
 * @param whole Whether the page is the whole list.
 * @param hold Whether the user has scrolled or selected: then no row appears above or vanishes.
 */
export function takePage(
  before: Shown,
  known: Map<string, Run>,
  page: readonly Run[],
  { whole, hold }: { whole: boolean; hold: boolean },
): Shown {
  const names = new Set(page.map((run) => run.name));
  const oldest = page.at(-1)?.createdMs ?? 0;
  const shown = new Set(before.rows.map((run) => run.name));
  const gone = new Set<string>();
  for (const [name, run] of known) {
    if (names.has(name) || (!whole && run.createdMs < oldest)) continue;
    if (hold && shown.has(name)) gone.add(name);
    else known.delete(name);
  }
  for (const run of page) known.set(run.name, run);
  return arrange(before, known, gone, hold);
}

/** Show the known rows in order; with `hold` those above the first shown one wait. */
export function arrange(
  before: Shown,
  known: ReadonlyMap<string, Run>,
  gone: ReadonlySet<string>,
  hold: boolean,
): Shown {
  const rows = [...known.values()].sort((a, b) => b.createdMs - a.createdMs || (a.name < b.name ? -1 : 1));
  const first = before.rows[0];
  if (!hold || !first) return { rows, waiting: 0, gone };
  const old = new Set(before.rows.map((run) => run.name));
  const kept = rows.filter((run) => old.has(run.name) || run.createdMs < first.createdMs);
  return { rows: kept, waiting: rows.length - kept.length, gone };
}

/** Return the runs that ended since, to announce them. */
export function endedSince(before: readonly Run[], after: readonly Run[]): Run[] {
  const active = new Set(before.filter((run) => !isTerminal(run.phase)).map((run) => run.name));
  return after.filter((run) => active.has(run.name) && isTerminal(run.phase));
}

/** Return the names of active runs that a first page does not hold, to ask for them by name. */
export function activeBeyond(rows: readonly Run[], pageRows: number, most: number): string[] {
  return rows
    .slice(pageRows)
    .filter((run) => !isTerminal(run.phase))
    .slice(0, most)
    .map((run) => run.name);
}
