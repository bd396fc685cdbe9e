// The indices of a map: one entry for each index, read from the external resources of its task execution. No DOM.

import type { ExternalResource } from "./api.ts";
import { lastCause } from "./logText.ts";
import { asPhase, isActive, isFailure, type Phase } from "./phases.ts";

/** One index of a map, with its last attempt. */
export interface MapIndex {
  readonly index: number;
  readonly attempt: number;
  readonly phase: Phase;
  readonly cacheStatus: string;
  readonly externalId: string;
  /** The log links of the last attempt. */
  readonly logs: ExternalResource["logs"];
  readonly startedMs: number | undefined;
  /** From start to end; undefined while the index runs, and where the engine reports no times. */
  readonly durationMs: number | undefined;
  /** The last line of the error, where the engine reports it. */
  readonly error: string;
}

export type MapSort = "index" | "failed" | "slow";

/** Return the indices of a map in ascending order; of several attempts, the last one. */
export function mapIndices(resources: readonly ExternalResource[]): MapIndex[] {
  const last = new Map<number, ExternalResource>();
  for (const resource of resources) {
    const index = resource.index ?? 0;
    const known = last.get(index);
    if (!known || (resource.retry_attempt ?? 0) >= (known.retry_attempt ?? 0)) last.set(index, resource);
  }
  return [...last.values()].map(indexOf).sort((a, b) => a.index - b.index);
}

function indexOf(resource: ExternalResource): MapIndex {
  const info = (resource.custom_info ?? {}) as Record<string, unknown>;
  const started = typeof info.started_at === "number" ? info.started_at * 1000 : undefined;
  const ended = typeof info.ended_at === "number" ? info.ended_at * 1000 : undefined;
  return {
    index: resource.index ?? 0,
    attempt: resource.retry_attempt ?? 0,
    phase: indexPhase(resource),
    cacheStatus: resource.cache_status ?? "CACHE_DISABLED",
    externalId: resource.external_id ?? "",
    logs: resource.logs ?? [],
    startedMs: started,
    durationMs: started !== undefined && ended !== undefined ? ended - started : undefined,
    error: typeof info.error === "string" ? lastCause(info.error) : "",
  };
}

/** An index without a phase has not been started. */
function indexPhase(resource: ExternalResource): Phase {
  const phase = asPhase(resource.phase);
  return phase === "UNDEFINED" ? "NOT_STARTED" : phase;
}

/** Return the indices that a table shows. phases: those that are shown; empty for all. text: an index, or part of an error. */
export function sortedIndices(
  indices: readonly MapIndex[],
  sort: MapSort,
  phases: ReadonlySet<Phase>,
  text: string,
): MapIndex[] {
  const wanted = text.trim().toLowerCase();
  const shown = indices.filter(
    (one) =>
      (phases.size === 0 || phases.has(one.phase)) &&
      (wanted === "" || String(one.index) === wanted || one.error.toLowerCase().includes(wanted)),
  );
  if (sort === "failed") shown.sort((a, b) => rank(a.phase) - rank(b.phase) || a.index - b.index);
  if (sort === "slow") shown.sort((a, b) => (b.durationMs ?? -1) - (a.durationMs ?? -1) || a.index - b.index);
  return shown;
}

function rank(phase: Phase): number {
  if (isFailure(phase)) return 0;
  if (phase === "ABORTED" || phase === "RETRYABLE_FAILED") return 1;
  if (isActive(phase)) return 2;
  return phase === "NOT_STARTED" ? 3 : 4;
}

/** A bar of a histogram: durations from `fromMs` (inclusive) to `toMs` (exclusive; the last bar inclusive). */
export interface Bin {
  readonly fromMs: number;
  readonly toMs: number;
  readonly count: number;
}

/** Return a histogram of durations with at most `binsMax` bars of equal width; empty without durations. */
export function histogram(durations: readonly number[], binsMax: number): Bin[] {
  if (durations.length === 0) return [];
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const duration of durations) {
    if (duration < least) least = duration;
    if (duration > most) most = duration;
  }
  const bins = most > least ? binsMax : 1;
  const width = (most - least) / bins || 1;
  const counts = new Array<number>(bins).fill(0);
  for (const duration of durations) {
    const bin = Math.min(bins - 1, Math.floor((duration - least) / width));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return counts.map((count, bin) => ({ fromMs: least + bin * width, toMs: least + (bin + 1) * width, count }));
}
