// The phases of executions, nodes, attempts and indices: names, groups and order. No DOM.

/**
 * Every phase that the API names, NOT_STARTED for a node of the workflow without a node execution, and UNKNOWN for a name
 * that is none of them. An execution is UNDEFINED until its engine begins.
 */
export type Phase =
  | "UNDEFINED"
  | "UNKNOWN"
  | "NOT_STARTED"
  | "QUEUED"
  | "INITIALIZING"
  | "WAITING_FOR_RESOURCES"
  | "PAUSED"
  | "RUNNING"
  | "DYNAMIC_RUNNING"
  | "SUCCEEDING"
  | "SUCCEEDED"
  | "RECOVERED"
  | "RETRYABLE_FAILED"
  | "FAILING"
  | "FAILED"
  | "TIMED_OUT"
  | "ABORTING"
  | "ABORTED"
  | "SKIPPED";

/** Phases that share a colour and an icon. */
export type PhaseGroup = "waiting" | "paused" | "running" | "succeeded" | "failed" | "aborted" | "skipped" | "unknown";

interface Described {
  readonly label: string;
  readonly group: PhaseGroup;
  readonly terminal: boolean;
}

const PHASES: Readonly<Record<Phase, Described>> = {
  UNDEFINED: { label: "Not started", group: "unknown", terminal: false },
  UNKNOWN: { label: "Unknown", group: "unknown", terminal: false },
  NOT_STARTED: { label: "Not started", group: "unknown", terminal: false },
  QUEUED: { label: "Queued", group: "waiting", terminal: false },
  INITIALIZING: { label: "Initializing", group: "waiting", terminal: false },
  WAITING_FOR_RESOURCES: { label: "Waiting for resources", group: "waiting", terminal: false },
  PAUSED: { label: "Paused", group: "paused", terminal: false },
  RUNNING: { label: "Running", group: "running", terminal: false },
  DYNAMIC_RUNNING: { label: "Running", group: "running", terminal: false },
  SUCCEEDING: { label: "Succeeding", group: "running", terminal: false },
  SUCCEEDED: { label: "Succeeded", group: "succeeded", terminal: true },
  RECOVERED: { label: "Recovered", group: "succeeded", terminal: true },
  RETRYABLE_FAILED: { label: "Failed, retried", group: "failed", terminal: true },
  FAILING: { label: "Failing", group: "failed", terminal: false },
  FAILED: { label: "Failed", group: "failed", terminal: true },
  TIMED_OUT: { label: "Timed out", group: "failed", terminal: true },
  ABORTING: { label: "Aborting", group: "aborted", terminal: false },
  ABORTED: { label: "Aborted", group: "aborted", terminal: true },
  SKIPPED: { label: "Skipped", group: "skipped", terminal: true },
};

/** The order in which counts of groups are listed. */
export const GROUPS: readonly PhaseGroup[] = [
  "failed",
  "aborted",
  "paused",
  "running",
  "waiting",
  "succeeded",
  "skipped",
  "unknown",
];

const GROUP_LABELS: Readonly<Record<PhaseGroup, string>> = {
  waiting: "queued",
  paused: "paused",
  running: "running",
  succeeded: "succeeded",
  failed: "failed",
  aborted: "aborted",
  skipped: "skipped",
  unknown: "not started",
};

/** Return the phase of a name in a reply: UNDEFINED where it has none, UNKNOWN for a name of a newer server. */
export function asPhase(name: string | null | undefined): Phase {
  if (!name) return "UNDEFINED";
  return Object.hasOwn(PHASES, name) ? (name as Phase) : "UNKNOWN";
}

/** Return the text of a phase. */
export function phaseLabel(phase: Phase): string {
  return PHASES[phase].label;
}

/** Return the group of a phase. */
export function phaseGroup(phase: Phase): PhaseGroup {
  return PHASES[phase].group;
}

/** Return the text of a group, in lower case. */
export function groupLabel(group: PhaseGroup): string {
  return GROUP_LABELS[group];
}

/** Whether no later phase follows. RETRYABLE_FAILED ends an attempt, not its node. */
export function isTerminal(phase: Phase): boolean {
  return PHASES[phase].terminal;
}

/** Whether the phase is FAILED or TIMED_OUT: an end that a person has to look at. */
export function isFailure(phase: Phase): boolean {
  return phase === "FAILED" || phase === "TIMED_OUT";
}

/** Whether work of a node goes on or waits: queued, paused, running, or ending. An execution is open until it is terminal. */
export function isActive(phase: Phase): boolean {
  return !PHASES[phase].terminal && phaseGroup(phase) !== "unknown";
}

/** Count phases by group. */
export function countGroups(phases: Iterable<Phase>): Map<PhaseGroup, number> {
  const counts = new Map<PhaseGroup, number>();
  for (const phase of phases) {
    const group = phaseGroup(phase);
    counts.set(group, (counts.get(group) ?? 0) + 1);
  }
  return counts;
}
