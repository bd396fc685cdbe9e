import { useMemo } from "preact/hooks";
import type { Execution, LaunchPlan } from "../../api/entities.ts";
import { Guarded, guarded } from "../../frame/Guarded.tsx";
import { navigate, query, setQuery } from "../../location.ts";
import { type EntityRow, entityRows } from "../../model/entityRows.ts";
import { byName, nextSlot, type PlanSchedule, type ScheduleState, scheduleOf } from "../../model/schedule.ts";
import { links, type PageProps, type Place } from "../../routes.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Check } from "../../ui/Fields.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { Menu } from "../../ui/Menu.tsx";
import { type Column, Table } from "../../ui/Table.tsx";
import { Time } from "../../ui/Time.tsx";
import { ActiveSwitch } from "../entities/ActiveSwitch.tsx";
import { archive } from "../entities/archive.ts";
import {
  firstError,
  useActivePlans,
  useNames,
  useNewestRuns,
  useNewestVersions,
  useSchedules,
} from "../entities/data.ts";
import { sorting, useShown } from "../entities/EntityList.tsx";
import { ListFrame, viewOfAddress } from "../entities/ListFrame.tsx";
import { Nothing } from "../entities/Nothing.tsx";
import { type Ask, scheduleItems, usePlanDialogs } from "../entities/planDialogs.tsx";
import { LastRun, RunBars } from "../entities/RunBars.tsx";
import { ScheduleBadge } from "../entities/ScheduleBadge.tsx";
import { ScheduleWords } from "../entities/ScheduleWords.tsx";

/** A launch plan with its active version and the state of its schedule. */
interface Row extends EntityRow<LaunchPlan, Execution> {
  readonly active: LaunchPlan | undefined;
  readonly schedule: PlanSchedule | null;
  readonly state: ScheduleState | undefined;
}

/** The launch plans of a project and domain. */
export default function LaunchPlansPage({ project, domain }: PageProps<"launchPlans">) {
  const place = { project, domain };
  const { rows, reads, loading } = useRows(place);
  const view = viewOfAddress();
  const scheduledOnly = query.value.get("scheduled") === "1";
  const { ask, dialog } = usePlanDialogs(place);
  const offered = useMemo(
    () => (scheduledOnly ? rows.filter((row) => row.schedule !== null) : rows),
    [rows, scheduledOnly],
  );
  const shown = useShown(offered, view) as Row[];
  const columns = useMemo(() => columnsOf(place, ask), [project, domain]);
  return (
    <ListFrame
      title="Launch plans"
      view={view}
      rows={rows}
      shown={shown.length}
      filters={
        <Check on={scheduledOnly} onChange={(on) => setQuery({ scheduled: on && "1" }, { push: true })}>
          With a schedule
        </Check>
      }
    >
      <ErrorBox error={firstError(...reads)} />
      {loading && <Skeleton />}
      {!loading && shown.length === 0 && <Nothing what="launch plans" view={view} place={place} />}
      {shown.length > 0 && (
        <Table
          label="Launch plans"
          columns={columns}
          rows={shown}
          rowKey={(row) => row.name}
          onOpen={(row) => navigate(links.entity("launch_plan", place, row.name))}
          {...sorting(view)}
        />
      )}
      {dialog}
    </ListFrame>
  );
}

function useRows(place: Place) {
  const names = useNames("launch_plan", place);
  const versions = useNewestVersions("launch_plan", place);
  const active = useActivePlans(place);
  const runs = useNewestRuns(place);
  const scheduled = [...(active.data ?? []), ...(versions.data?.items ?? [])].some((plan) => scheduleOf(plan) !== null);
  const schedules = useSchedules(place, undefined, scheduled);
  const rows = useMemo(() => {
    const lists = { names: names.data ?? [], versions: versions.data, runs: runs.data };
    const actives = new Map((active.data ?? []).map((plan) => [plan.id?.name, plan]));
    const states = byName(schedules.data ?? []);
    return entityRows<LaunchPlan, Execution>(lists, "LAUNCH_PLAN").map((row): Row => {
      const plan = actives.get(row.name);
      const newest = plan ?? row.versions[0];
      return { ...row, active: plan, schedule: newest ? scheduleOf(newest) : null, state: states.get(row.name) };
    });
  }, [names.data, versions.data, runs.data, active.data, schedules.data]);
  const reads = [names, versions, active, runs, schedules];
  return { rows, reads, loading: names.data === undefined && !names.error };
}

function columnsOf(place: Place, ask: (asked: Ask) => void): Column<Row>[] {
  return [
    {
      key: "name",
      head: "Name",
      class: "wide",
      sortable: true,
      cell: (row) => (
        <a class="main" href={links.entity("launch_plan", place, row.name)} title={row.name}>
          {row.name}
        </a>
      ),
    },
    {
      key: "workflow",
      head: "Workflow",
      width: "13rem",
      class: "if-wide",
      label: "Workflow",
      cell: (row) => <WorkflowOf place={place} row={row} />,
    },
    {
      key: "active",
      head: "Active",
      width: "8rem",
      label: "Active",
      cell: (row) => <Active place={place} row={row} ask={ask} />,
    },
    { key: "schedule", head: "Schedule", class: "wide", width: "16rem", cell: (row) => <ScheduleCell row={row} /> },
    {
      key: "next",
      head: "Next run",
      width: "6.5rem",
      label: "Next",
      cell: (row) => <Time at={nextSlot(row.state)} relative />,
    },
    {
      key: "run",
      head: "Last run",
      width: "11.5rem",
      sortable: true,
      cell: (row) => <LastRun place={place} runs={row.runs} />,
    },
    {
      key: "bars",
      head: "Last 10",
      width: "6.5rem",
      class: "if-normal",
      cell: (row) => <RunBars place={place} runs={row.runs} name={row.name} />,
    },
    {
      key: "actions",
      head: "",
      width: "6.5rem",
      class: "actions",
      cell: (row) => <Actions place={place} row={row} ask={ask} />,
    },
  ];
}

function WorkflowOf({ place, row }: { place: Place; row: Row }) {
  const name = (row.active ?? row.versions[0])?.spec?.workflow_id?.name;
  if (!name) return null;
  return (
    <a href={links.entity("workflow", place, name)} title={name}>
      {name}
    </a>
  );
}

interface CellProps {
  place: Place;
  row: Row;
  ask: (asked: Ask) => void;
}

function Active({ place, row, ask }: CellProps) {
  const version = row.active?.id?.version ?? null;
  return (
    <span class="row tight one-line">
      <ActiveSwitch place={place} name={row.name} active={version} ask={ask} />
      {version !== null && (
        <a class="ellipsis" href={links.version("launch_plan", place, row.name, version)} title={version}>
          {version}
        </a>
      )}
    </span>
  );
}

function ScheduleCell({ row }: { row: Row }) {
  if (!row.schedule) return null;
  const zone = row.state?.zone || row.schedule.zone;
  return (
    <>
      {row.state && row.active && <ScheduleBadge state={row.state} />}{" "}
      <span class={row.active ? undefined : "muted"}>
        <ScheduleWords expression={row.schedule.expression} zone={zone} />
      </span>
    </>
  );
}

function Actions({ place, row, ask }: CellProps) {
  const active = row.active?.id?.version ?? null;
  const version = active ?? row.versions[0]?.id?.version;
  const workflow = (row.active ?? row.versions[0])?.spec?.workflow_id?.name;
  return (
    <span class="row tight actions-row">
      <Guarded
        need="run"
        place={place}
        class="button small"
        href={links.launch("launch_plan", place, row.name, { version })}
      >
        Launch
      </Guarded>
      <Menu
        button={<Icon name="dots" />}
        label={`More about ${row.name}`}
        class="button quiet small icon-only"
        items={[
          ...guarded("register", place, [
            { label: "Change the active version…", onSelect: () => ask({ what: "activate", name: row.name, active }) },
          ]),
          ...(row.state && row.active ? scheduleItems(row.state, ask) : []),
          ...(workflow ? [{ label: "Run grid of the workflow", href: links.grid(place, workflow) }] : []),
          ...guarded("register", place, [
            {
              label: row.archived ? "Take out of the archive" : "Archive",
              onSelect: () => void archive("launch_plan", place, row.name, !row.archived),
            },
          ]),
        ]}
      />
    </span>
  );
}
