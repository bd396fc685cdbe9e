/** Names of the kinds of nodes. */
import type { RunNode } from "../../model/tree.ts";

const LABELS: Record<RunNode["kind"], string> = {
  task: "task",
  dynamic: "dynamic",
  eager: "eager",
  map: "map",
  workflow: "workflow",
  launchPlan: "launch plan",
  branch: "branch",
  gate: "gate",
  sleep: "sleep",
  end: "end",
  unknown: "node",
  execution: "execution",
};

export function kindLabel(kind: RunNode["kind"]): string {
  return LABELS[kind];
}
