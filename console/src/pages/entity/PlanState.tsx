import type { LaunchPlan } from "../../api/entities.ts";
import { Guarded } from "../../frame/Guarded.tsx";
import { scheduleOf } from "../../model/schedule.ts";
import { links, type Place } from "../../routes.ts";
import { ActiveSwitch } from "../entities/ActiveSwitch.tsx";
import { useSchedules } from "../entities/data.ts";
import { useRunsOf } from "../entities/EntityRuns.tsx";
import type { Ask } from "../entities/planDialogs.tsx";
import { SchedulePanel } from "../entities/SchedulePanel.tsx";

interface Props {
  place: Place;
  name: string;
  active: LaunchPlan | null;
  newest: LaunchPlan;
  ask: (asked: Ask) => void;
}

/** The activation of a launch plan, its workflow, and its schedule. */
export function PlanState({ place, name, active, newest, ask }: Props) {
  const plan = active ?? newest;
  const schedule = scheduleOf(plan);
  const states = useSchedules(place, name, schedule !== null);
  const version = plan.id?.version ?? "";
  const state = states.data === null ? null : states.data?.find((one) => one.version === version);
  const workflow = plan.spec?.workflow_id;
  const runs = useRunsOf({ kind: "launch_plan", place, name });
  return (
    <>
      <div class="row">
        <ActiveSwitch place={place} name={name} active={active ? version : null} ask={ask} labelled />
        {active && (
          <Guarded
            need="register"
            place={place}
            class="button small"
            onClick={() => ask({ what: "activate", name, active: version })}
          >
            Change version…
          </Guarded>
        )}
        {workflow?.name && (
          <span class="muted">
            runs workflow <a href={links.entity("workflow", place, workflow.name)}>{workflow.name}</a>{" "}
            <a href={links.version("workflow", place, workflow.name, workflow.version ?? "")}>{workflow.version}</a>
          </span>
        )}
      </div>
      {schedule ? (
        <SchedulePanel
          place={place}
          schedule={schedule}
          active={active !== null}
          state={state}
          ask={ask}
          runs={runs.data ?? []}
        />
      ) : (
        <p class="muted">
          No schedule: {active ? "the active version" : "the newest version"} runs when it is launched.
        </p>
      )}
    </>
  );
}
