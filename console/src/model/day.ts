/** The executions of a day, summed up: what failed and how often, what runs. No DOM. */
import { isFailure, isTerminal, type PhaseGroup, phaseGroup } from "./phases.ts";
import type { Run } from "./runs.ts";

/** Failures of one workflow for one cause. */
export interface FailureGroup {
  entity: Run["entity"];
  cause: string;
  count: number;
  last: Run;
}

export interface Day {
  failures: FailureGroup[];
  active: Run[];
  counts: Map<PhaseGroup, number>;
}

/** Numbers and quoted parts differ between failures of one cause. */
function general(cause: string): string {
  return cause.replace(/\d+/g, "#").replace(/(['"`]).*?\1/g, "…");
}

/** Sum up the executions of a day, given the newest first. */
export function dayOf(runs: readonly Run[]): Day {
  const groups = new Map<string, FailureGroup>();
  const counts = new Map<PhaseGroup, number>();
  for (const run of runs) {
    const group = phaseGroup(run.phase);
    counts.set(group, (counts.get(group) ?? 0) + 1);
    if (!isFailure(run.phase)) continue;
    const key = `${run.entity.kind} ${run.entity.name} ${general(run.cause)}`;
    const found = groups.get(key);
    if (found) found.count += 1;
    else groups.set(key, { entity: run.entity, cause: run.cause, count: 1, last: run });
  }
  return { failures: [...groups.values()], active: runs.filter((run) => !isTerminal(run.phase)), counts };
}
