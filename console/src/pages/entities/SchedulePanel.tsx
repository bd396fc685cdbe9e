import type { Execution } from "../../api/entities.ts";
import {
  nextSlot,
  optionsInWords,
  type PlanSchedule,
  reasonOf,
  type ScheduleState,
  statusOf,
} from "../../model/schedule.ts";
import { links, type Place } from "../../routes.ts";
import { Phase } from "../../ui/Phase.tsx";
import { Time, useNow } from "../../ui/Time.tsx";
import type { Ask } from "./planDialogs.tsx";
import { ScheduleActions } from "./ScheduleActions.tsx";
import { ScheduleBadge } from "./ScheduleBadge.tsx";
import { ScheduleWords } from "./ScheduleWords.tsx";

interface Props {
  place: Place;
  schedule: PlanSchedule;
  active: boolean;
  /** Undefined while it is read or where the server keeps none; null on a server without states of schedules. */
  state: ScheduleState | null | undefined;
  ask: (asked: Ask) => void;
  /** Executions among which that of the last slot is looked for. */
  runs?: readonly Execution[];
}

/** The schedule of a launch plan: its expression, and where the server offers it, its state and actions. */
export function SchedulePanel({ place, schedule, active, state, ask, runs = [] }: Props) {
  return (
    <section class="card schedule-panel" aria-label="Schedule">
      <header>
        <h2>
          <ScheduleWords expression={schedule.expression} zone={state?.zone || schedule.zone} />
        </h2>
        {state && <ScheduleBadge state={state} />}
        {!state && <span class="muted">{active ? "Active" : "Not active"}</span>}
      </header>
      <div class="stack body">
        {state ? (
          <State place={place} state={state} schedule={schedule} ask={ask} runs={runs} />
        ) : (
          <>
            {!active && <p>The schedule runs while a version is active: turn on the switch above.</p>}
            <Facts schedule={schedule} />
            {state === null && (
              <p class="muted small">This server does not report when schedules ran and when they run next.</p>
            )}
          </>
        )}
      </div>
    </section>
  );
}

function Facts({ schedule }: { schedule: PlanSchedule }) {
  return (
    <dl class="facts">
      <dt>Expression</dt>
      <dd class="mono">{schedule.expression}</dd>
      {schedule.kickoffInput && (
        <>
          <dt>Input with the time of the run</dt>
          <dd class="mono">{schedule.kickoffInput}</dd>
        </>
      )}
    </dl>
  );
}

interface StateProps {
  place: Place;
  state: ScheduleState;
  schedule: PlanSchedule;
  ask: (asked: Ask) => void;
  runs: readonly Execution[];
}

function State({ place, state, schedule, ask, runs }: StateProps) {
  return (
    <>
      <Trouble state={state} />
      <div class="schedule-columns">
        <dl class="facts">
          <dt>Next</dt>
          <dd>{nextSlot(state) ? <NextSlots slots={state.next} /> : <span class="muted">{noNext(state)}</span>}</dd>
          <dt>Last</dt>
          <dd>
            <LastSlot place={place} state={state} runs={runs} />
          </dd>
          <dt>Runs so far</dt>
          <dd>
            <Counts state={state} />
          </dd>
          {state.activated_by && (
            <>
              <dt>Activated by</dt>
              <dd>{state.activated_by}</dd>
            </>
          )}
        </dl>
        <dl class="facts">
          <dt>Expression</dt>
          <dd class="mono">{schedule.expression}</dd>
          {state.kickoff_input && (
            <>
              <dt>Input with the time of the run</dt>
              <dd class="mono">{state.kickoff_input}</dd>
            </>
          )}
          {optionsInWords(state).map(([label, text]) => (
            <Fact key={label} label={label} text={text} />
          ))}
        </dl>
      </div>
      <ScheduleActions state={state} ask={ask} />
    </>
  );
}

function Fact({ label, text }: { label: string; text: string }) {
  return (
    <>
      <dt>{label}</dt>
      <dd>{text}</dd>
    </>
  );
}

function Trouble({ state }: { state: ScheduleState }) {
  const reason = reasonOf(state);
  const since = statusOf(state) === "paused" ? state.paused?.at : state.problem?.since;
  return (
    <>
      {reason && (
        <div class={statusOf(state) === "paused" ? "notice" : "notice warning"} role="status">
          <span class="text">
            {reason}
            {since && (
              <span class="muted">
                {" "}
                since <Time at={since} />
              </span>
            )}
          </span>
        </div>
      )}
      {state.warnings.map((warning) => (
        <div key={warning} class="notice warning">
          <span class="text">{warning}</span>
        </div>
      ))}
    </>
  );
}

function noNext(state: ScheduleState): string {
  return statusOf(state) === "paused" ? "None while the schedule is paused" : "None";
}

function NextSlots({ slots }: { slots: readonly string[] }) {
  const now = useNow();
  return (
    <ol class="slots">
      {slots.map((slot, index) => (
        <li key={slot} class={index > 0 ? "muted" : undefined}>
          <Time at={slot} />
          {index === 0 && (
            <span class="muted"> ({Date.parse(slot) <= now ? "due now" : <Time at={slot} relative />})</span>
          )}
        </li>
      ))}
    </ol>
  );
}

/** The last slot of a schedule, with a link to its execution, and how it ended where it is among `runs`. */
export function LastSlot({ place, state, runs }: { place: Place; state: ScheduleState; runs?: readonly Execution[] }) {
  const last = state.last;
  if (!last) return <span class="muted">None yet</span>;
  const run = last.execution ? runs?.find((one) => one.id?.name === last.execution) : undefined;
  return (
    <>
      <Time at={last.slot} />{" "}
      {last.execution ? (
        <a href={links.execution(place, last.execution)}>
          {run ? <Phase phase={run.closure?.phase} /> : (last.outcome ?? "execution")}
        </a>
      ) : (
        last.outcome
      )}
    </>
  );
}

const COUNTS = ["launched", "missed", "skipped", "failed"] as const;

/** The counts of slots; those of zero are left out, except the launched ones. */
export function Counts({ state }: { state: ScheduleState }) {
  const shown = COUNTS.filter((name) => name === "launched" || state.counts[name] > 0);
  return (
    <span>
      {shown.map((name, index) => (
        <span key={name} class={name === "failed" ? "failed-count" : undefined}>
          {index > 0 && ", "}
          {state.counts[name]} {name}
        </span>
      ))}
    </span>
  );
}
