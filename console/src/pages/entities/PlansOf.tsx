import { useMemo } from "preact/hooks";
import type { LaunchPlan } from "../../api/entities.ts";
import { Guarded } from "../../frame/Guarded.tsx";
import { navigate } from "../../location.ts";
import { versionsByName } from "../../model/lastRuns.ts";
import { byName, nextSlot, type ScheduleState, scheduleOf } from "../../model/schedule.ts";
import { links, type Place } from "../../routes.ts";
import { Empty, Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { type Column, Table } from "../../ui/Table.tsx";
import { Time } from "../../ui/Time.tsx";
import { ActiveSwitch } from "./ActiveSwitch.tsx";
import { firstError, usePlansOfWorkflow, useSchedules } from "./data.ts";
import type { Ask } from "./planDialogs.tsx";
import { ScheduleBadge } from "./ScheduleBadge.tsx";
import { ScheduleWords } from "./ScheduleWords.tsx";

interface Row {
  readonly name: string;
  readonly plan: LaunchPlan;
  readonly active: string | null;
  readonly state: ScheduleState | undefined;
}

/** The launch plans of a workflow. */
export function PlansOf({ place, workflow, ask }: { place: Place; workflow: string; ask: (asked: Ask) => void }) {
  const plans = usePlansOfWorkflow(place, workflow);
  const schedules = useSchedules(
    place,
    undefined,
    (plans.data ?? []).some((plan) => scheduleOf(plan) !== null),
  );
  const rows = useMemo(() => {
    const states = byName(schedules.data ?? []);
    return [...versionsByName(plans.data ?? [])].flatMap(([name, versions]): Row[] => {
      const active = versions.find((one) => one.closure?.state === "ACTIVE");
      const plan = active ?? versions[0];
      return plan ? [{ name, plan, active: active?.id?.version ?? null, state: states.get(name) }] : [];
    });
  }, [plans.data, schedules.data]);
  const columns = useMemo(() => columnsOf(place, ask), [place.project, place.domain]);
  return (
    <div class="stack entity-list">
      <ErrorBox error={firstError(plans, schedules)} />
      {plans.data === undefined && !plans.error && <Skeleton lines={3} />}
      {plans.data && rows.length === 0 && <Empty title="No launch plan runs this workflow" />}
      {rows.length > 0 && (
        <Table
          label={`Launch plans of ${workflow}`}
          columns={columns}
          rows={rows}
          rowKey={(row) => row.name}
          onOpen={(row) => navigate(links.entity("launch_plan", place, row.name))}
        />
      )}
    </div>
  );
}

function columnsOf(place: Place, ask: (asked: Ask) => void): Column<Row>[] {
  return [
    {
      key: "name",
      head: "Name",
      class: "wide",
      cell: (row) => (
        <a class="main" href={links.entity("launch_plan", place, row.name)} title={row.name}>
          {row.name}
        </a>
      ),
    },
    {
      key: "active",
      head: "Active",
      width: "10rem",
      cell: (row) => (
        <span class="row tight one-line">
          <ActiveSwitch place={place} name={row.name} active={row.active} ask={ask} />
          {row.active && <span class="ellipsis">{row.active}</span>}
        </span>
      ),
    },
    {
      key: "schedule",
      head: "Schedule",
      class: "wide",
      cell: (row) => {
        const schedule = scheduleOf(row.plan);
        if (!schedule) return null;
        return (
          <>
            {row.active && row.state && <ScheduleBadge state={row.state} />}{" "}
            <ScheduleWords expression={schedule.expression} zone={row.state?.zone || schedule.zone} />
          </>
        );
      },
    },
    {
      key: "next",
      head: "Next run",
      width: "9rem",
      label: "Next",
      cell: (row) => <Time at={nextSlot(row.state)} relative />,
    },
    {
      key: "launch",
      head: "",
      width: "5.5rem",
      class: "actions",
      cell: (row) => (
        <Guarded
          need="run"
          place={place}
          class="button small"
          href={links.launch("launch_plan", place, row.name, { version: row.plan.id?.version })}
        >
          Launch
        </Guarded>
      ),
    },
  ];
}
