/** The columns of the list. */
import type { ComponentChildren } from "preact";
import type { FilterKey } from "../../api/filters.ts";
import { guarded } from "../../frame/Guarded.tsx";
import { isTerminal, phaseGroup } from "../../model/phases.ts";
import type { Run } from "../../model/runs.ts";
import { links, type Place } from "../../routes.ts";
import { copyText } from "../../ui/Copy.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { Menu, type MenuItem } from "../../ui/Menu.tsx";
import { Phase } from "../../ui/Phase.tsx";
import type { Column } from "../../ui/Table.tsx";
import { Duration, Time } from "../../ui/Time.tsx";
import { type Act, relaunchAddress } from "./actions.tsx";

interface Context {
  place: Place;
  filter: (key: FilterKey, value: string, exclude: boolean) => void;
  onAct: (act: Act) => void;
  gone: ReadonlySet<string>;
}

/** A value with a button that filters by it; with Alt it excludes it. */
function Filtered({
  by,
  value,
  filter,
  children,
}: {
  by: FilterKey;
  value: string;
  filter: Context["filter"];
  children: ComponentChildren;
}) {
  return (
    <span class="filtered">
      <span class="ellipsis">{children}</span>
      <button
        type="button"
        class="filter-by"
        title={`Only ${by} ${value.replace(/^=/, "")}; with Alt all but it`}
        onClick={(event) => filter(by, value, event.altKey)}
      >
        <Icon name="filter" size={12} label={`Filter by ${by} ${value.replace(/^=/, "")}`} />
      </button>
    </span>
  );
}

const MODES: Readonly<Record<string, string>> = {
  SCHEDULED: "schedule",
  SYSTEM: "system",
  RELAUNCH: "relaunch",
  CHILD_WORKFLOW: "parent",
  RECOVERED: "recovery",
  TRIGGER: "trigger",
};

export function columnsOf({ place, filter, onAct }: Context): Column<Run>[] {
  return [
    {
      key: "phase",
      head: "Phase",
      width: "9rem",
      cell: (run) => (
        <Filtered by="phase" value={phaseWord(run)} filter={filter}>
          <Phase phase={run.phase} />
        </Filtered>
      ),
    },
    {
      key: "name",
      head: "Execution",
      width: "11.5rem",
      cell: (run) => (
        <a class="main mono" href={links.execution(place, run.name)} title={run.name}>
          {run.name}
        </a>
      ),
    },
    {
      key: "entity",
      head: "Workflow or task",
      cell: (run) => (
        <Filtered by={run.entity.kind === "task" ? "task" : "workflow"} value={`=${run.entity.name}`} filter={filter}>
          <a href={links.entity(run.entity.kind, place, run.entity.name)} title={run.entity.name}>
            {run.entity.name}
          </a>
          {run.launchPlan && (
            <span class="muted" title={`Launch plan ${run.launchPlan.name}`}>
              {" · "}
              {run.launchPlan.name}
            </span>
          )}
        </Filtered>
      ),
    },
    {
      key: "version",
      head: "Version",
      width: "8rem",
      class: "if-wide",
      cell: (run) => (
        <Filtered by="version" value={run.entity.version} filter={filter}>
          <a
            href={links.version(run.entity.kind, place, run.entity.name, run.entity.version)}
            title={run.entity.version}
            class="mono small quiet-link"
          >
            {run.entity.version}
          </a>
        </Filtered>
      ),
    },
    {
      key: "by",
      head: "By",
      width: "7rem",
      class: "by",
      label: "by",
      cell: (run) =>
        run.user ? (
          <Filtered by="user" value={run.user} filter={filter}>
            {MODES[run.mode] ? `${MODES[run.mode]}, ` : ""}
            {run.user}
          </Filtered>
        ) : (
          (MODES[run.mode] ?? "")
        ),
    },
    {
      key: "started",
      head: "Started",
      width: "7.5rem",
      sortable: true,
      cell: (run) => <Time at={run.startedAt} />,
    },
    {
      key: "duration",
      head: "Duration",
      width: "5.5rem",
      class: "number",
      sortable: true,
      cell: (run) =>
        run.ms === undefined && isTerminal(run.phase) ? null : <Duration ms={run.ms} from={run.startedAt} />,
    },
    {
      key: "cause",
      head: "Cause",
      width: "20%",
      class: "wide causes",
      cell: (run) =>
        run.cause && (
          <span class={`cause phase-${phaseGroup(run.phase)}`} title={run.cause}>
            {run.cause}
          </span>
        ),
    },
    {
      key: "menu",
      head: <span class="hidden-text">Actions</span>,
      width: "3rem",
      class: "row-menu",
      cell: (run) => <RowMenu {...{ place, run, onAct }} />,
    },
  ];
}

/** The word of filters for the phase of a run. */
function phaseWord(run: Run): string {
  const group = phaseGroup(run.phase);
  return group === "waiting" ? "queued" : group;
}

function RowMenu({ place, run, onAct }: { place: Place; run: Run; onAct: (act: Act) => void }) {
  return (
    <Menu
      class="button quiet icon-only small"
      label={`Actions on ${run.name}`}
      button={<Icon name="dots" />}
      items={() => [
        ...guarded("run", place, actionItems(place, run, onAct)),
        { label: "Copy the name", onSelect: () => void copyText(run.name) },
      ]}
    />
  );
}

function actionItems(place: Place, run: Run, onAct: (act: Act) => void): MenuItem[] {
  const runs = [run];
  return [
    { label: "Relaunch…", href: relaunchAddress(place, run) },
    {
      label: "Recover…",
      onSelect: () => onAct({ kind: "recover", runs }),
      reason:
        phaseGroup(run.phase) === "failed" && isTerminal(run.phase)
          ? undefined
          : "only failed executions are recovered",
    },
    {
      label: "Terminate…",
      onSelect: () => onAct({ kind: "terminate", runs }),
      reason: !isTerminal(run.phase) ? undefined : "it has ended",
    },
    {
      label: run.archived ? "Restore…" : "Archive…",
      onSelect: () => onAct({ kind: run.archived ? "restore" : "archive", runs }),
      separated: true,
    },
  ];
}
