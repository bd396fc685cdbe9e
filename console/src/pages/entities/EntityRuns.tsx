/** The last executions of one entity, with a link to all of them. */
import { useMemo } from "preact/hooks";
import { type Execution, runsOf } from "../../api/entities.ts";
import { useLive } from "../../api/live.ts";
import { Guarded } from "../../frame/Guarded.tsx";
import { navigate } from "../../location.ts";
import { asPhase, phaseGroup, phaseLabel } from "../../model/phases.ts";
import { runOf } from "../../model/runs.ts";
import { durationMs, durationText } from "../../model/times.ts";
import { type EntityKind, links, type Place } from "../../routes.ts";
import { Bars } from "../../ui/Bars.tsx";
import { Empty, Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Phase } from "../../ui/Phase.tsx";
import { type Column, Table } from "../../ui/Table.tsx";
import { Duration, Time } from "../../ui/Time.tsx";
import { runs as isRunning } from "./data.ts";
import { kindText } from "./EntityHead.tsx";
import { executionsFilter } from "./filters.ts";

/** Executions that are shown. */
const RUNS_SHOWN = 100;
const ACTIVE_MS = 3000;
const IDLE_MS = 15_000;

interface Props {
  kind: EntityKind;
  place: Place;
  name: string;
}

/** The last executions of one entity. Its readers share one poll. */
export function useRunsOf({ kind, place, name }: Props) {
  return useLive<Execution[]>(
    `ListExecutions last of ${kind} ${place.project} ${place.domain} ${name}`,
    (signal, _, background) => runsOf(kind, place, name, { signal, background }, RUNS_SHOWN),
    (found) => (found.some(isRunning) ? ACTIVE_MS : IDLE_MS),
  );
}

export function EntityRuns(props: Props) {
  const { kind, place, name } = props;
  const read = useRunsOf(props);
  const runs = read.data ?? [];
  const columns = useMemo(() => columnsOf(place), [place.project, place.domain]);
  return (
    <div class="stack entity-list">
      <ErrorBox error={read.error} />
      {read.data === undefined && !read.error && <Skeleton />}
      {read.data && runs.length === 0 && (
        <Empty title={`No executions of this ${kindText(kind).toLowerCase()}${kind === "task" ? " alone" : ""} yet`}>
          {kind === "task" && <p class="muted">Its runs inside workflows are shown with their executions.</p>}
          <Guarded need="run" place={place} class="button primary" href={links.launch(kind, place, name)}>
            Launch one
          </Guarded>
        </Empty>
      )}
      {runs.length > 0 && (
        <>
          <RunChart place={place} runs={runs} name={name} />
          <p class="small">
            <a href={links.executions(place, { q: executionsFilter(kind, name) })}>
              All executions of this {kindText(kind).toLowerCase()}, with filters
            </a>
          </p>
          <Table
            label={`Executions of ${name}`}
            columns={columns}
            rows={runs}
            rowKey={(run) => run.id?.name ?? ""}
            onOpen={(run) => navigate(links.execution(place, run.id?.name ?? ""))}
          />
        </>
      )}
    </div>
  );
}

function RunChart({ place, runs, name }: { place: Place; runs: readonly Execution[]; name: string }) {
  const bars = [...runs].reverse().map((run) => {
    const phase = asPhase(run.closure?.phase);
    const ms = durationMs(run.closure?.duration) ?? 0;
    const key = run.id?.name ?? "";
    const title = `${key}: ${phaseLabel(phase)}, ${durationText(ms)}`;
    return { key, ms, group: phaseGroup(phase), title, href: links.execution(place, key) };
  });
  return (
    <div class="run-chart">
      <Bars bars={bars} label={`Durations of the last ${runs.length} executions of ${name}`} />
    </div>
  );
}

function columnsOf(place: Place): Column<Execution>[] {
  return [
    { key: "phase", head: "Phase", width: "8rem", cell: (run) => <Phase phase={run.closure?.phase} /> },
    {
      key: "name",
      head: "Execution",
      width: "14rem",
      class: "wide",
      cell: (run) => (
        <a class="main mono" href={links.execution(place, run.id?.name ?? "")}>
          {run.id?.name}
        </a>
      ),
    },
    { key: "version", head: "Version", width: "8rem", cell: (run) => run.closure?.workflow_id?.version },
    { key: "plan", head: "Launch plan", cell: (run) => run.spec?.launch_plan?.name },
    {
      key: "mode",
      head: "Launched",
      width: "6.5rem",
      cell: (run) =>
        run.spec?.metadata?.principal || (run.spec?.metadata?.mode ?? "").toLowerCase().replaceAll("_", " "),
    },
    { key: "start", head: "Created", width: "9rem", cell: (run) => <Time at={run.closure?.created_at} /> },
    {
      key: "duration",
      head: "Duration",
      width: "6rem",
      cell: (run) => (
        <Duration
          ms={isRunning(run) ? undefined : durationMs(run.closure?.duration)}
          from={isRunning(run) ? run.closure?.started_at : undefined}
        />
      ),
    },
    {
      key: "cause",
      head: "Cause",
      class: "wide",
      cell: (run) => {
        const { cause } = runOf(run);
        return (
          cause && (
            <span class="run-cause" title={cause}>
              {cause}
            </span>
          )
        );
      },
    },
  ];
}
