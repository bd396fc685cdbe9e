import { useMemo } from "preact/hooks";
import type { Execution } from "../../api/entities.ts";
import { navigate, query, setQuery } from "../../location.ts";
import { matches } from "../../model/find.ts";
import { nextSlot, reasonOf, type ScheduleState, statusOf } from "../../model/schedule.ts";
import { links, type PageProps, type Place } from "../../routes.ts";
import { Commands, Empty, Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox, Notice } from "../../ui/ErrorBox.tsx";
import { Check } from "../../ui/Fields.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { Menu } from "../../ui/Menu.tsx";
import { type Column, Table } from "../../ui/Table.tsx";
import { Time } from "../../ui/Time.tsx";
import { useNewestRuns, useSchedules } from "../entities/data.ts";
import { type Ask, scheduleItems, usePlanDialogs } from "../entities/planDialogs.tsx";
import { ScheduleBadge } from "../entities/ScheduleBadge.tsx";
import { Counts, LastSlot } from "../entities/SchedulePanel.tsx";
import { ScheduleWords } from "../entities/ScheduleWords.tsx";
import "../entities/style.css";

const TROUBLE = new Set(["trouble", "never", "paused"]);

/** The schedules of a project and domain with their states: what runs next, and what is in trouble. */
export default function SchedulesPage({ project, domain }: PageProps<"schedules">) {
  const place = { project, domain };
  const read = useSchedules(place, undefined, true);
  const { ask, dialog } = usePlanDialogs(place);
  const text = query.value.get("q") ?? "";
  const all = query.value.get("off") === "1";
  const problems = query.value.get("problems") === "1";
  const used = useMemo(
    () => (read.data ?? []).filter((one) => all || one.active || one.paused !== null),
    [read.data, all],
  );
  const shown = matches(
    problems ? used.filter((one) => TROUBLE.has(statusOf(one)) || one.warnings.length > 0) : used,
    text,
    (one) => one.name,
  );
  const runs = useNewestRuns(place).data;
  const columns = useMemo(() => columnsOf(place, ask, runs ?? []), [project, domain, runs]);
  return (
    <div class="stack entity-list">
      <div class="row list-head">
        <h1>Schedules</h1>
        <span class="muted" role="status">
          {shown.length === used.length ? used.length : `${shown.length} of ${used.length}`}
        </span>
        <input
          type="search"
          class="input list-search"
          placeholder="Search names"
          aria-label="Search schedules"
          data-search
          value={text}
          onInput={(event) => setQuery({ q: event.currentTarget.value })}
        />
        <Check on={problems} onChange={(on) => setQuery({ problems: on && "1" }, { push: true })}>
          Paused or in trouble
        </Check>
        <Check on={all} onChange={(on) => setQuery({ off: on && "1" }, { push: true })}>
          Also inactive ones
        </Check>
      </div>
      <ErrorBox error={read.error} />
      {read.data === undefined && !read.error && <Skeleton />}
      {read.data === null && (
        <Notice>
          This server does not report the states of schedules.{" "}
          <a href={links.list(place, "launchPlans", { scheduled: 1 })}>Launch plans with a schedule</a> show their
          expressions and whether they are active.
        </Notice>
      )}
      {read.data && shown.length === 0 && <NoSchedules place={place} filtered={problems || text !== ""} />}
      {shown.length > 0 && (
        <Table
          label="Schedules"
          columns={columns}
          rows={shown}
          rowKey={(one) => `${one.name}\n${one.version}`}
          onOpen={(one) => navigate(links.entity("launch_plan", place, one.name))}
        />
      )}
      {dialog}
    </div>
  );
}

function NoSchedules({ place, filtered }: { place: Place; filtered: boolean }) {
  if (filtered) {
    return (
      <Empty title="No schedule matches">
        <button type="button" class="button" onClick={() => setQuery({ q: null, problems: null })}>
          Show all
        </button>
      </Empty>
    );
  }
  return (
    <Empty title="No active schedule">
      <p>Give a launch plan a CronSchedule or FixedRate, register it, and activate it with its switch:</p>
      <Commands
        lines={[
          `pyflyte --config ~/.flyteadmin/config.yaml launchplan -p ${place.project} -d ${place.domain} NAME VERSION --activate`,
        ]}
      />
      <a class="button" href={links.list(place, "launchPlans")}>
        Launch plans
      </a>
    </Empty>
  );
}

function columnsOf(place: Place, ask: (asked: Ask) => void, runs: readonly Execution[]): Column<ScheduleState>[] {
  return [
    {
      key: "name",
      head: "Launch plan",
      class: "wide",
      cell: (one) => (
        <>
          <a class="main" href={links.entity("launch_plan", place, one.name)} title={one.name}>
            {one.name}
          </a>{" "}
          <a class="muted" href={links.version("launch_plan", place, one.name, one.version)}>
            {one.version}
          </a>
        </>
      ),
    },
    { key: "status", head: "State", width: "8rem", cell: (one) => <ScheduleBadge state={one} /> },
    {
      key: "words",
      head: "Schedule",
      class: "wide",
      cell: (one) => <ScheduleWords expression={one.expression} zone={one.zone} />,
    },
    {
      key: "next",
      head: "Next run",
      width: "8.5rem",
      label: "Next",
      cell: (one) => <Time at={nextSlot(one)} relative />,
    },
    {
      key: "last",
      head: "Last run",
      width: "14rem",
      label: "Last",
      cell: (one) => <LastSlot place={place} state={one} runs={runs} />,
    },
    { key: "counts", head: "Runs so far", width: "12rem", cell: (one) => <Counts state={one} /> },
    {
      key: "reason",
      head: "Reason",
      class: "wide",
      cell: (one) => <span title={reasonOf(one)}>{reasonOf(one) || one.warnings[0]}</span>,
    },
    {
      key: "actions",
      head: "",
      width: "3rem",
      class: "actions",
      cell: (one) => (
        <Menu
          button={<Icon name="dots" />}
          label={`Actions on ${one.name}`}
          class="button quiet small icon-only"
          items={scheduleItems(one, ask)}
        />
      ),
    },
  ];
}
