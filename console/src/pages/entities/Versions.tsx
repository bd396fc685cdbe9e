/** The versions of an entity, paged without a limit, each with its last executions. */
import { useMemo } from "preact/hooks";
import { type Execution, type LaunchPlan, listVersions, type Versions as OfKind, runsOf } from "../../api/entities.ts";
import { useLive } from "../../api/live.ts";
import { Guarded } from "../../frame/Guarded.tsx";
import { navigate } from "../../location.ts";
import { BARS } from "../../model/lastRuns.ts";
import { scheduleOf } from "../../model/schedule.ts";
import { type EntityKind, links, type Place } from "../../routes.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { type Column, Table } from "../../ui/Table.tsx";
import { Time } from "../../ui/Time.tsx";
import { firstError } from "./data.ts";
import type { Ask } from "./planDialogs.tsx";
import { LastRun, RunBars } from "./RunBars.tsx";
import { ScheduleWords } from "./ScheduleWords.tsx";
import { usePages } from "./usePages.ts";

/** Versions of one page. */
const PAGE_ROWS = 50;

type Version = OfKind[EntityKind];

interface Props {
  kind: EntityKind;
  place: Place;
  name: string;
  /** The active version of a launch plan; null for other kinds and where none is active. */
  active: string | null;
  ask: (asked: Ask) => void;
}

/** A version with its executions. */
interface Row {
  readonly version: string;
  readonly of: Version;
  readonly runs: readonly Execution[];
}

/** A table of versions, the newest first. */
export function Versions({ kind, place, name, active, ask }: Props) {
  const scope = `${kind} ${place.project} ${place.domain} ${name}`;
  const pages = usePages<Version>(`ListVersions of ${scope}`, (token, signal) =>
    listVersions(kind, place, { name, limit: PAGE_ROWS, token }, { signal }),
  );
  const runs = useLive<Execution[]>(`ListExecutions of ${scope}`, (signal, _, background) =>
    runsOf(kind, place, name, { signal, background }),
  );
  const rows = useMemo(() => rowsOf(kind, pages.items ?? [], runs.data ?? []), [kind, pages.items, runs.data]);
  const columns = useMemo(
    () => columnsOf({ kind, place, name, active, ask }),
    [kind, place.project, place.domain, name, active],
  );
  return (
    <div class="stack entity-list">
      <ErrorBox error={firstError(pages, runs)} onRetry={pages.error && pages.next} />
      {pages.items === undefined && !pages.error && <Skeleton />}
      {rows.length > 0 && (
        <Table
          label={`Versions of ${name}`}
          columns={columns}
          rows={rows}
          rowKey={(row) => row.version}
          onOpen={(row) => navigate(links.version(kind, place, name, row.version))}
          onEnd={() => pages.more && pages.next()}
        />
      )}
      {pages.more && (
        <button type="button" class="button" onClick={pages.next}>
          Load more versions
        </button>
      )}
    </div>
  );
}

function rowsOf(kind: EntityKind, versions: readonly Version[], runs: readonly Execution[]): Row[] {
  const grouped = new Map<string, Execution[]>();
  for (const run of runs) {
    const id = kind === "workflow" ? run.closure?.workflow_id : run.spec?.launch_plan;
    const found = grouped.get(id?.version ?? "") ?? [];
    if (found.length < BARS) grouped.set(id?.version ?? "", [...found, run]);
  }
  return versions.map((of) => {
    const version = of.id?.version ?? "";
    return { version, of, runs: grouped.get(version) ?? [] };
  });
}

function columnsOf({ kind, place, name, active, ask }: Props): Column<Row>[] {
  const columns: Column<Row>[] = [
    {
      key: "version",
      head: "Version",
      class: "wide",
      cell: (row) => (
        <a class="main" href={links.version(kind, place, name, row.version)} title={row.version}>
          {row.version}
        </a>
      ),
    },
    {
      key: "registered",
      head: "Registered",
      width: "12rem",
      label: "Registered",
      cell: (row) => <Time at={row.of.closure?.created_at} />,
    },
  ];
  if (kind === "launch_plan") columns.push(...planColumns(place, name, active, ask));
  columns.push(
    { key: "run", head: "Last run", width: "11rem", cell: (row) => <LastRun place={place} runs={row.runs} /> },
    {
      key: "bars",
      head: `Last ${BARS}`,
      width: "7.5rem",
      cell: (row) => <RunBars place={place} runs={row.runs} name={row.version} />,
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
          href={links.launch(kind, place, name, { version: row.version })}
        >
          Launch
        </Guarded>
      ),
    },
  );
  return columns;
}

function planColumns(place: Place, name: string, active: string | null, ask: (asked: Ask) => void): Column<Row>[] {
  return [
    {
      key: "schedule",
      head: "Schedule",
      class: "wide",
      cell: (row) => {
        const schedule = scheduleOf(row.of as LaunchPlan);
        return schedule && <ScheduleWords expression={schedule.expression} zone={schedule.zone} />;
      },
    },
    {
      key: "active",
      head: "Active",
      width: "8rem",
      cell: ({ version }) =>
        version === active ? (
          <Guarded
            need="register"
            place={place}
            class="button small"
            onClick={() => ask({ what: "deactivate", name, active })}
          >
            Deactivate…
          </Guarded>
        ) : (
          <Guarded
            need="register"
            place={place}
            class="button small quiet"
            onClick={() => ask({ what: "activate", name, active, chosen: version })}
          >
            Activate…
          </Guarded>
        ),
    },
  ];
}
