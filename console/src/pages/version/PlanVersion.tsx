import type { LaunchPlan } from "../../api/entities.ts";
import { Guarded } from "../../frame/Guarded.tsx";
import { scheduleOf } from "../../model/schedule.ts";
import { links, type Place } from "../../routes.ts";
import { Chip } from "../../ui/Fields.tsx";
import { useActivePlan, useSchedules } from "../entities/data.ts";
import type { Ask } from "../entities/planDialogs.tsx";
import { SchedulePanel } from "../entities/SchedulePanel.tsx";

interface Props {
  place: Place;
  plan: LaunchPlan;
  ask: (asked: Ask) => void;
}

/** A version of a launch plan: its workflow, activation, schedule and settings. */
export function PlanVersion({ place, plan, ask }: Props) {
  const name = plan.id?.name ?? "";
  const version = plan.id?.version ?? "";
  const active = useActivePlan(place, name);
  const schedule = scheduleOf(plan);
  const states = useSchedules(place, name, schedule !== null);
  const activeVersion = active.data?.id?.version ?? null;
  const isActive = activeVersion === version;
  const state = states.data === null ? null : states.data?.find((one) => one.version === version);
  const workflow = plan.spec?.workflow_id;
  return (
    <>
      <div class="row">
        {active.data !== undefined && (
          <Guarded
            need="register"
            place={place}
            class="button"
            onClick={() =>
              ask(
                isActive
                  ? { what: "deactivate", name, active: version }
                  : { what: "activate", name, active: activeVersion, chosen: version },
              )
            }
          >
            {isActive ? "Deactivate…" : "Activate…"}
          </Guarded>
        )}
        {!isActive && activeVersion !== null && (
          <span class="muted">
            Active is <a href={links.version("launch_plan", place, name, activeVersion)}>{activeVersion}</a>
          </span>
        )}
      </div>
      {schedule && <SchedulePanel place={place} schedule={schedule} active={isActive} state={state} ask={ask} />}
      <section class="card">
        <header>
          <h2>Settings</h2>
        </header>
        <dl class="facts body">
          {workflow?.name && (
            <>
              <dt>Workflow</dt>
              <dd>
                <a href={links.version("workflow", place, workflow.name, workflow.version ?? "")}>
                  {workflow.name} {workflow.version}
                </a>
              </dd>
            </>
          )}
          <Pairs label="Labels" values={plan.spec?.labels?.values} />
          <Pairs label="Annotations" values={plan.spec?.annotations?.values} />
          {settings(plan).map(([label, text]) => (
            <Fact key={label} label={label} text={text} />
          ))}
        </dl>
      </section>
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

function Pairs({ label, values }: { label: string; values: Record<string, string> | undefined }) {
  const pairs = Object.entries(values ?? {});
  if (pairs.length === 0) return null;
  return (
    <>
      <dt>{label}</dt>
      <dd class="row tight">
        {pairs.map(([key, value]) => (
          <Chip key={key}>
            {key}={value}
          </Chip>
        ))}
      </dd>
    </>
  );
}

/** Return the settings that a launch plan sets. */
function settings(plan: LaunchPlan): [string, string][] {
  const { spec } = plan;
  const runAs = spec?.security_context?.run_as;
  const notifications = spec?.entity_metadata?.notifications ?? [];
  const found: [string, string | undefined][] = [
    ["Notifications", notifications.map(notificationText).join("; ")],
    ["Raw output", spec?.raw_output_data_config?.output_location_prefix],
    ["Nodes at once", spec?.max_parallelism ? String(spec.max_parallelism) : undefined],
    ["Interruptible", spec?.interruptible == null ? undefined : String(spec.interruptible)],
    ["Overwrites the cache", spec?.overwrite_cache ? "yes" : undefined],
    ["Service account", runAs?.k8s_service_account || spec?.auth_role?.kubernetes_service_account],
    ["IAM role", runAs?.iam_role || spec?.auth_role?.assumable_iam_role],
    ["Environment", (spec?.envs?.values ?? []).map((one) => `${one.key}=${one.value}`).join(" ")],
    ["Executions at once", concurrency(plan)],
  ];
  return found.flatMap(([label, text]) => (text ? [[label, text]] : []));
}

type Notification = NonNullable<
  NonNullable<NonNullable<LaunchPlan["spec"]>["entity_metadata"]>["notifications"]
>[number];

function notificationText(one: Notification): string {
  const recipients = (one.email ?? one.slack ?? one.pager_duty)?.recipients_email ?? [];
  const way = one.slack ? "Slack" : one.pager_duty ? "PagerDuty" : "mail";
  return `${way} to ${recipients.join(", ")} on ${(one.phases ?? []).join(", ").toLowerCase()}`;
}

function concurrency(plan: LaunchPlan): string | undefined {
  const policy = plan.spec?.concurrency_policy;
  return policy ? `at most ${policy.max ?? 0}; a launch beyond is skipped` : undefined;
}
