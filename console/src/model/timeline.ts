// Bars of the timeline: when a node was queued, and when each of its attempts ran. No DOM.

import type { Span, TaskExecution } from "./api.ts";
import { asPhase, isTerminal, type Phase } from "./phases.ts";
import { durationMs, durationText, timeMs } from "./times.ts";
import type { ExecutionKey, RunNode } from "./tree.ts";

/** One attempt of a task. Times are milliseconds since 1970. */
export interface AttemptTimes {
  readonly attempt: number;
  readonly createdMs: number;
  readonly startedMs: number | undefined;
  readonly endedMs: number | undefined;
  readonly phase: Phase;
}

/** A part of a row's bar. `attempt` is undefined for the bar of a node without attempts. */
export interface Segment {
  readonly kind: "queued" | "ran";
  readonly phase: Phase;
  readonly startMs: number;
  readonly endMs: number;
  readonly attempt: number | undefined;
}

/** Return the times of an attempt from its task execution. */
export function attemptTimes(task: TaskExecution): AttemptTimes | undefined {
  const closure = task.closure;
  const createdMs = timeMs(closure?.created_at);
  if (createdMs === undefined) return undefined;
  const startedMs = timeMs(closure?.started_at);
  const phase = asPhase(closure?.phase);
  const duration = durationMs(closure?.duration);
  let endedMs: number | undefined;
  if (isTerminal(phase)) {
    endedMs = startedMs !== undefined && duration !== undefined ? startedMs + duration : timeMs(closure?.updated_at);
  }
  return { attempt: task.id?.retry_attempt ?? 0, createdMs, startedMs, endedMs, phase };
}

/**
 * Return the attempts of all nodes from the spans of GetExecutionMetrics, by `attemptKey`; those of child executions are
 * among them. Spans carry no phases: all attempts of a node but the last one have failed; the last one has the phase of
 * the node.
 */
export function attemptsFromSpans(root: Span | null | undefined): Map<string, AttemptTimes[]> {
  const found = new Map<string, AttemptTimes[]>();
  const visit = (span: Span): void => {
    const node = span.task_id?.node_execution_id;
    const createdMs = timeMs(span.start_time);
    if (node && createdMs !== undefined) {
      const { project = "", domain = "", name = "" } = node.execution_id ?? {};
      const id = attemptKey({ project, domain, name }, node.node_id ?? "");
      const runtime = span.spans?.find((inner) => inner.operation_id === "TASK_RUNTIME");
      const attempts = found.get(id) ?? [];
      found.set(id, attempts);
      attempts.push({
        attempt: span.task_id?.retry_attempt ?? 0,
        createdMs,
        startedMs: timeMs(runtime?.start_time),
        endedMs: timeMs(span.end_time),
        phase: "RETRYABLE_FAILED",
      });
    }
    for (const inner of span.spans ?? []) visit(inner);
  };
  if (root) visit(root);
  for (const attempts of found.values()) attempts.sort((a, b) => a.attempt - b.attempt);
  return found;
}

/** Return the key of a node's attempts. */
export function attemptKey({ project, domain, name }: ExecutionKey, nodeId: string): string {
  return JSON.stringify([project, domain, name, nodeId]);
}

/** Return the segments of a row. nowMs: the end of bars that have none. */
export function segments(node: RunNode, attempts: readonly AttemptTimes[] | undefined, nowMs: number): Segment[] {
  if (node.createdMs === undefined) return [];
  const endMs = Math.max(node.createdMs, node.endedMs ?? nowMs);
  if (!attempts || attempts.length === 0) return plainSegments(node, node.createdMs, endMs);
  const made: Segment[] = [];
  let at = node.createdMs;
  attempts.forEach((attempt, index) => {
    const isLast = index === attempts.length - 1;
    const next = attempts[index + 1]?.createdMs ?? endMs;
    const end = clamp(isLast ? endMs : (attempt.endedMs ?? next), at, endMs);
    const start = attempt.startedMs === undefined ? undefined : clamp(attempt.startedMs, at, end);
    const queuedUntil = start ?? end;
    if (queuedUntil > at) made.push(segment("queued", "QUEUED", at, queuedUntil, attempt.attempt));
    if (start !== undefined)
      made.push(segment("ran", isLast ? node.phase : attempt.phase, start, end, attempt.attempt));
    at = end;
  });
  return made;
}

function plainSegments(node: RunNode, createdMs: number, endMs: number): Segment[] {
  const startedMs = node.startedMs === undefined ? undefined : clamp(node.startedMs, createdMs, endMs);
  const made: Segment[] = [];
  const queuedUntil = startedMs ?? (isTerminal(node.phase) ? createdMs : endMs);
  if (queuedUntil > createdMs) made.push(segment("queued", "QUEUED", createdMs, queuedUntil, undefined));
  if (startedMs !== undefined || isTerminal(node.phase))
    made.push(segment("ran", node.phase, queuedUntil, endMs, undefined));
  return made;
}

function segment(
  kind: Segment["kind"],
  phase: Phase,
  startMs: number,
  endMs: number,
  attempt: number | undefined,
): Segment {
  return { kind, phase, startMs, endMs, attempt };
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}

/** A part of the time axis. */
export interface Range {
  readonly startMs: number;
  readonly endMs: number;
}

/** Return the range that holds all rows and is at least a second long. */
export function rangeOf(nodes: Iterable<RunNode>, startMs: number | undefined, endMs: number): Range {
  let start = startMs ?? Number.POSITIVE_INFINITY;
  let end = endMs;
  for (const node of nodes) {
    if (node.createdMs !== undefined && node.createdMs < start) start = node.createdMs;
    if (node.endedMs !== undefined && node.endedMs > end) end = node.endedMs;
  }
  if (!Number.isFinite(start)) start = end;
  return { startMs: start, endMs: Math.max(end, start + 1000) };
}

const STEPS_SECONDS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
  14_400, 21_600, 43_200, 86_400,
];

/** Return the marks of the axis, in milliseconds from `originMs`, at most `marksMax`. */
export function ticks(range: Range, originMs: number, marksMax: number): number[] {
  const span = range.endMs - range.startMs;
  const seconds = span / 1000 / Math.max(1, marksMax);
  let step = STEPS_SECONDS.find((one) => one >= seconds);
  if (step === undefined) step = Math.ceil(seconds / 86_400) * 86_400;
  const stepMs = step * 1000;
  const first = Math.ceil((range.startMs - originMs) / stepMs);
  const last = Math.floor((range.endMs - originMs) / stepMs);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => (first + index) * stepMs);
}

/** Part of the axis from which the text of a mark stands before the mark: it would end beside the axis. */
const LAST_MARK = 0.9;
/** Characters of marks that a narrow axis has room for. */
const AXIS_CHARACTERS = 44;

/** A mark of the axis: its place as a fraction, whether its text stands before it, and its text. */
export interface AxisMark {
  left: number;
  last: boolean;
  text: string;
}

/** Return the marks of the axis. A mark whose text would overlap that of the last one has none. */
export function axisMarks(range: Range, originMs: number, marksMax: number): AxisMark[] {
  const marks = ticks(range, originMs, marksMax).map((mark) => {
    const left = fraction(range, originMs + mark);
    return { left, last: left > LAST_MARK, text: mark === 0 ? "0s" : durationText(mark) };
  });
  return marks.map((mark, index) => {
    const next = marks[index + 1];
    const room = next ? (next.left - mark.left) * AXIS_CHARACTERS - 1 : 0;
    return next?.last && mark.text.length + next.text.length > room ? { ...mark, text: "" } : mark;
  });
}

/** Return where a time lies in a range, as a fraction between 0 and 1. */
export function fraction(range: Range, ms: number): number {
  return clamp((ms - range.startMs) / (range.endMs - range.startMs), 0, 1);
}
