// What a node spent its time on: the operations of GetExecutionMetrics. No DOM.

import type { Span } from "./api.ts";
import { attemptKey } from "./timeline.ts";
import { timeMs } from "./times.ts";

/** One operation of a node or of an attempt of its task. Times are in ms. */
export interface Operation {
  readonly id: string;
  /** From 0; undefined for an operation of the node itself. */
  readonly attempt: number | undefined;
  readonly startMs: number;
  readonly lengthMs: number;
}

const TEXTS: Record<string, string> = {
  NODE_TRANSITION: "Since the node before",
  NODE_SETUP: "Inputs and cache",
  NODE_RESET: "Waiting for the next attempt",
  NODE_IDLE: "Waiting at the gate",
  NODE_TEARDOWN: "Outputs",
  TASK_SETUP: "Queued and starting",
  TASK_RUNTIME: "Running",
  TASK_TEARDOWN: "End of the task",
};

/** Return an operation as text; the id of one that this list lacks. */
export function operationText({ id, attempt }: Operation, attempts: number): string {
  const text = TEXTS[id] ?? id.toLowerCase().replaceAll("_", " ");
  return attempt === undefined || attempts < 2 ? text : `${text}, attempt ${attempt + 1}`;
}

/** Return the operations of each node, by `attemptKey`, in the order of their starts. */
export function operationsByNode(root: Span | null | undefined): Map<string, Operation[]> {
  const found = new Map<string, Operation[]>();
  const visit = (span: Span, key: string | undefined, attempt: number | undefined): void => {
    if (key !== undefined && span.operation_id) {
      const startMs = timeMs(span.start_time);
      const endMs = timeMs(span.end_time);
      if (startMs === undefined || endMs === undefined) return;
      const operations = found.get(key) ?? [];
      found.set(key, operations);
      operations.push({ id: span.operation_id, attempt, startMs, lengthMs: Math.max(0, endMs - startMs) });
      return;
    }
    const node = span.task_id?.node_execution_id ?? span.node_id;
    const { project = "", domain = "", name = "" } = node?.execution_id ?? {};
    const below = node ? attemptKey({ project, domain, name }, node.node_id ?? "") : undefined;
    for (const inner of span.spans ?? []) visit(inner, below, span.task_id?.retry_attempt);
  };
  if (root) visit(root, undefined, undefined);
  for (const operations of found.values()) operations.sort((a, b) => a.startMs - b.startMs);
  return found;
}
