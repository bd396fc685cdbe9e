import type { Workflow } from "../../api/entities.ts";

/** The graph of a workflow as it was registered. */
export function WorkflowGraph(_: { workflow: Workflow }) {
  return null;
}
