/** Schedules of launch plans: the expression in words, the coming slots, and the reasons of trouble. */

type Maybe<T> = T | null | undefined;

/** The state of a schedule, as `GET /api/v1/schedules/{project}/{domain}` answers it. Other Flyte servers lack it. */
export interface ScheduleState {
  readonly project: string;
  readonly domain: string;
  readonly name: string;
  readonly version: string;
  readonly expression: string;
  readonly zone: string;
  readonly kickoff_input: string;
  readonly active: boolean;
  readonly paused: { readonly reason: string; readonly by: string; readonly at: string | null } | null;
  readonly last: { readonly slot: string; readonly execution: string; readonly outcome: string | null } | null;
  readonly next: readonly string[];
  readonly never: boolean;
  readonly counts: {
    readonly launched: number;
    readonly missed: number;
    readonly skipped: number;
    readonly failed: number;
  };
  readonly problem: { readonly code: number; readonly message: string; readonly since: string | null } | null;
  readonly options: {
    readonly overlap: string;
    readonly catch_up: string;
    readonly catch_up_seconds: number | null;
    readonly jitter_seconds: number;
    readonly dst: string;
    readonly pause_after: number;
  };
  readonly warnings: readonly string[];
  readonly activated_by: string;
}

/** The parts of a launch plan that describe its schedule. */
export interface ScheduledPlan {
  readonly spec?: Maybe<{
    readonly entity_metadata?: Maybe<{
      readonly schedule?: Maybe<{
        readonly cron_expression?: Maybe<string>;
        readonly cron_schedule?: Maybe<{ readonly schedule?: Maybe<string> }>;
        readonly rate?: Maybe<{ readonly value?: Maybe<number>; readonly unit?: Maybe<string> }>;
        readonly kickoff_time_input_arg?: Maybe<string>;
      }>;
    }>;
    readonly annotations?: Maybe<{ readonly values?: Maybe<Readonly<Record<string, string>>> }>;
  }>;
}

/** The schedule in a launch plan. `zone` is "" where that of the server counts. */
export interface PlanSchedule {
  readonly expression: string;
  readonly zone: string;
  readonly kickoffInput: string;
}

const ZONE_ANNOTATION = "schedule.flyte.org/timezone";
const ZONE_PREFIX = /^(?:CRON_)?TZ=(\S*)\s+/;
const RATE = /^rate\((\d+) (MINUTE|HOUR|DAY)\)$/;
const EVERY = /^@every\s+(\S+)$/;
const GO_DURATION = /^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/;

const NICKNAMES: Readonly<Record<string, string>> = {
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
  "@monthly": "0 0 1 * *",
  "@weekly": "0 0 * * 0",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *",
};

/** Return the schedule of a launch plan, or null where it has none. */
export function scheduleOf(plan: ScheduledPlan): PlanSchedule | null {
  const schedule = plan.spec?.entity_metadata?.schedule;
  if (!schedule) return null;
  const kickoffInput = schedule.kickoff_time_input_arg ?? "";
  const cron = schedule.cron_schedule?.schedule || schedule.cron_expression;
  if (cron) {
    const annotated = plan.spec?.annotations?.values?.[ZONE_ANNOTATION] ?? "";
    return { expression: cron, zone: ZONE_PREFIX.exec(cron)?.[1] ?? annotated, kickoffInput };
  }
  const { value, unit } = schedule.rate ?? {};
  return value ? { expression: `rate(${value} ${unit ?? "MINUTE"})`, zone: "", kickoffInput } : null;
}

/** Translates the five fields of a cron expression into a sentence; throws for an expression that it cannot read. */
export type CronTranslator = (fields: string) => string;

let translator: Promise<CronTranslator> | undefined;

/** Load cronstrue once, when the first cron expression is shown. */
export function cronTranslator(): Promise<CronTranslator> {
  translator ??= import("cronstrue").then((module) => {
    return (fields) => module.toString(fields, { use24HourTimeFormat: true });
  });
  // A later page load may succeed, so a failed download is not kept.
  translator.catch(() => (translator = undefined));
  return translator;
}

/** Return whether words for an expression need the translator. */
export function needsTranslator(expression: string): boolean {
  return !RATE.test(expression) && !EVERY.test(expression.trim());
}

/**
 * Return an expression in words, such as "At 02:30, Monday through Friday" or "Every 5 minutes".
 *
 * @param translate - The translator; without it a cron expression is returned as it is.
 * @returns The expression itself where it has no words, as with six fields.
 */
export function inWords(expression: string, translate?: CronTranslator): string {
  const rate = RATE.exec(expression);
  if (rate) return rateInWords(Number(rate[1]), (rate[2] ?? "").toLowerCase());
  const fields = expression.trim().replace(ZONE_PREFIX, "");
  const every = EVERY.exec(fields);
  if (every?.[1]) return GO_DURATION.test(every[1]) ? `Every ${spaced(every[1])}` : expression;
  const plain = NICKNAMES[fields.toLowerCase()] ?? fields;
  if (!translate || plain.split(/\s+/).length !== 5) return expression;
  try {
    return translate(plain);
  } catch {
    // The server judges expressions; here one without words is shown as it was written.
    return expression;
  }
}

function rateInWords(value: number, unit: string): string {
  return value === 1 ? `Every ${unit}` : `Every ${value} ${unit}s`;
}

/** Return "1h30m0s" as "1 h 30 min". */
function spaced(duration: string): string {
  const names: Readonly<Record<string, string>> = { m: "min", us: "µs" };
  const parts = [...duration.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  const shown = parts.filter(([, number]) => Number(number) !== 0);
  return (shown.length ? shown : parts).map(([, number, unit]) => `${number} ${names[unit ?? ""] ?? unit}`).join(" ");
}

/** Whether a schedule runs, and where not, why. */
export type ScheduleStatus = "running" | "paused" | "trouble" | "never" | "off";

/** Return the status of a schedule. Trouble counts only while the schedule is active. */
export function statusOf(state: ScheduleState): ScheduleStatus {
  if (state.paused) return "paused";
  if (!state.active) return "off";
  if (state.never) return "never";
  return state.problem ? "trouble" : "running";
}

/** Return the reason of trouble, a pause, or a schedule that never fires; "" where there is none. */
export function reasonOf(state: ScheduleState): string {
  if (state.paused) {
    const by = state.paused.by && ` by ${state.paused.by}`;
    return `Paused${by}${state.paused.reason && `: ${state.paused.reason}`}`;
  }
  if (state.problem) return state.problem.message;
  return state.active && state.never ? "No coming date fits the expression." : "";
}

/** Return the next slot of an active schedule, or undefined. */
export function nextSlot(state: Maybe<ScheduleState>): string | undefined {
  return state?.active ? state.next[0] : undefined;
}

/** Return the states by name of the launch plan; an active version comes before others, then the one listed last. */
export function byName(states: readonly ScheduleState[]): Map<string, ScheduleState> {
  const found = new Map<string, ScheduleState>();
  for (const state of states) {
    const other = found.get(state.name);
    if (!other || rank(state) >= rank(other)) found.set(state.name, state);
  }
  return found;
}

function rank(state: ScheduleState): number {
  return state.active ? 2 : Number(state.paused !== null);
}

const OVERLAPS: Readonly<Record<string, string>> = {
  allow: "launch beside it",
  skip: "skip the run",
  "buffer-one": "launch when it ends",
  replace: "terminate it, then launch",
};
const CATCH_UPS: Readonly<Record<string, string>> = {
  all: "launch all",
  last: "launch the newest",
  none: "launch none",
};

/** Return the options of a schedule as pairs of label and text; defaults that change nothing are left out. */
export function optionsInWords(state: ScheduleState): [string, string][] {
  const {
    overlap,
    catch_up: catchUp,
    catch_up_seconds: age,
    jitter_seconds: jitter,
    dst,
    pause_after: limit,
  } = state.options;
  const found: [string, string][] = [
    ["While a run is active", OVERLAPS[overlap] ?? overlap],
    ["Missed runs", age ? `launch those of the last ${secondsInWords(age)}` : (CATCH_UPS[catchUp] ?? catchUp)],
  ];
  if (jitter) found.push(["Delay of launches", `up to ${secondsInWords(jitter)}`]);
  if (state.zone && !["UTC", "Etc/UTC"].includes(state.zone)) found.push(["Clock changes", clockChanges(dst)]);
  if (limit) found.push(["Pauses itself after", `${limit} failed ${limit === 1 ? "launch" : "launches in a row"}`]);
  return found;
}

const CLOCK_CHANGES: Record<string, string> = {
  "skip-gap": "a time that is skipped has no run",
  "move-gap": "a time that is skipped runs at the end of the gap",
  once: "a repeated time runs once",
  twice: "a repeated time runs twice",
};

function clockChanges(dst: string): string {
  return dst
    .split(",")
    .map((one) => CLOCK_CHANGES[one] ?? one)
    .join(", ");
}

function secondsInWords(seconds: number): string {
  for (const [unit, size] of [
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
  ] as const) {
    if (seconds >= size && seconds % size === 0) return `${seconds / size} ${unit}${seconds === size ? "" : "s"}`;
  }
  return `${seconds} s`;
}
