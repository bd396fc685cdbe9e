/** The run grid of a workflow: its nodes × its last executions. */
import { useMemo } from "preact/hooks";
import { type Execution, runsOf } from "../../api/entities.ts";
import { useLive } from "../../api/live.ts";
import { Guarded } from "../../frame/Guarded.tsx";
import { type GridCell, type GridRow, gridRows, RUNS_MAX, share, type Verdict } from "../../model/grid.ts";
import { asPhase, phaseGroup, phaseLabel } from "../../model/phases.ts";
import { durationMs, durationText } from "../../model/times.ts";
import { links, type PageProps, type Place } from "../../routes.ts";
import { barHeight } from "../../ui/Bars.tsx";
import { Empty, Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { PhaseIcon } from "../../ui/Phase.tsx";
import { Time } from "../../ui/Time.tsx";
import { firstError, runs as isRunning } from "../entities/data.ts";
import { EntityHead } from "../entities/EntityHead.tsx";
import { useNodeNames } from "../entities/nodeNames.ts";
import { useNodes } from "./useNodes.ts";
import "../entities/style.css";
import "./style.css";

const ACTIVE_MS = 3000;
const IDLE_MS = 15_000;

export default function GridPage({ project, domain, name }: PageProps<"grid">) {
  const place = { project, domain };
  const read = useLive<Execution[]>(
    `ListExecutions grid ${project} ${domain} ${name}`,
    async (signal, before, background) => {
      const found = await runsOf("workflow", place, name, { signal, background }, RUNS_MAX);
      return before && sameRuns(before, found) ? before : found;
    },
    (found) => (found.some(isRunning) ? ACTIVE_MS : IDLE_MS),
  );
  const nodes = useNodes(place, read.data);
  const newest = read.data?.[0]?.closure?.workflow_id;
  const names = useNodeNames(place, newest?.name, newest?.version);
  const executions = useMemo(() => [...(read.data ?? [])].reverse(), [read.data]);
  const rows = useMemo(() => {
    const found = executions.map((one) => ({ name: one.id?.name ?? "", nodes: nodes.cells.get(one.id?.name ?? "") }));
    return gridRows(found, names?.order);
  }, [executions, nodes.cells, names]);
  return (
    <div class="stack">
      <EntityHead kind="workflow" place={place} name={name}>
        <a class="button" href={links.entity("workflow", place, name)}>
          <Icon name="graph" /> Workflow
        </a>
        <Guarded need="run" place={place} class="button primary" href={links.launch("workflow", place, name)}>
          <Icon name="play" /> Launch
        </Guarded>
      </EntityHead>
      <ErrorBox error={firstError(read, nodes)} />
      {read.data === undefined && !read.error && <Skeleton />}
      {read.data?.length === 0 && <Empty title="No executions of this workflow yet" />}
      {executions.length > 0 && (
        <>
          <Findings place={place} rows={rows} executions={executions} names={names?.names} />
          <Grid place={place} rows={rows} executions={executions} names={names?.names} loaded={nodes.cells} />
        </>
      )}
    </div>
  );
}

/** Return whether nothing changed since the last read, so that no node list is read again. */
function sameRuns(before: readonly Execution[], found: readonly Execution[]): boolean {
  const state = (one: Execution) => `${one.id?.name} ${one.closure?.phase} ${one.closure?.updated_at}`;
  return !found.some(isRunning) && before.map(state).join() === found.map(state).join();
}

interface Props {
  place: Place;
  rows: readonly GridRow[];
  /** The oldest first. */
  executions: readonly Execution[];
  names: ReadonlyMap<string, string> | undefined;
}

/** What the grid shows, in sentences: nodes that fail, became slower, or fail sometimes. */
function Findings({ place, rows, executions, names }: Props) {
  const found = rows.filter((row) => row.verdict.kind !== "steady");
  if (found.length === 0) return null;
  return (
    <ul class="findings">
      {found.map((row) => (
        <li key={row.id} class={`finding-${row.verdict.kind}`}>
          <strong class="mono">{labelOf(row.id, names)}</strong>{" "}
          <VerdictText place={place} verdict={row.verdict} executions={executions} />
        </li>
      ))}
    </ul>
  );
}

function VerdictText({ place, verdict, executions }: { verdict: Verdict } & Pick<Props, "place" | "executions">) {
  switch (verdict.kind) {
    case "failing":
      return (
        <>
          fails in the last {verdict.runs === 1 ? "run" : `${verdict.runs} runs`}, since{" "}
          <Since place={place} execution={executions[verdict.since]} />
        </>
      );
    case "slower":
      return (
        <>
          takes {verdict.factor.toFixed(1)} × as long since{" "}
          <Since place={place} execution={executions[verdict.since]} />
        </>
      );
    case "flaky":
      return (
        <>
          failed in {verdict.failed} of {verdict.of} runs
        </>
      );
    default:
      return null;
  }
}

function Since({ place, execution }: { place: Place; execution: Execution | undefined }) {
  return (
    <>
      <a class="mono" href={links.execution(place, execution?.id?.name ?? "")}>
        {execution?.id?.name}
      </a>{" "}
      (<Time at={execution?.closure?.created_at} />, version {execution?.closure?.workflow_id?.version})
    </>
  );
}

function labelOf(id: string, names: ReadonlyMap<string, string> | undefined): string {
  return [id, names?.get(id)].filter(Boolean).join(" ");
}

interface GridProps extends Props {
  loaded: ReadonlyMap<string, unknown>;
}

function Grid({ place, rows, executions, names, loaded }: GridProps) {
  const longest = Math.max(0, ...executions.map((one) => durationMs(one.closure?.duration) ?? 0));
  return (
    <div class="table-box grid-box" tabIndex={0} role="region" aria-label="Nodes by execution">
      <table class="run-grid">
        <thead>
          <tr>
            <th scope="col" class="corner">
              <span class="muted small">
                {executions.length} runs, oldest left
                {loaded.size < executions.length && `, ${loaded.size} read`}
              </span>
            </th>
            {executions.map((one) => (
              <th key={one.id?.name} scope="col">
                <RunHead place={place} execution={one} longest={longest} />
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.id}>
              <th scope="row" title={labelOf(row.id, names)}>
                <span class="mono">{row.id}</span> <span class="muted">{names?.get(row.id)}</span>
              </th>
              {row.cells.map((cell, index) => (
                <td key={executions[index]?.id?.name}>
                  <Cell place={place} row={row} cell={cell} execution={executions[index]} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function RunHead({ place, execution, longest }: { place: Place; execution: Execution; longest: number }) {
  const name = execution.id?.name ?? "";
  const phase = asPhase(execution.closure?.phase);
  const ms = durationMs(execution.closure?.duration) ?? 0;
  const title = `${name}, ${phaseLabel(phase)}, ${durationText(ms)}, version ${execution.closure?.workflow_id?.version}`;
  return (
    <a class={`run-head phase-${phaseGroup(phase)}`} href={links.execution(place, name)} title={title}>
      <span class="hidden-text">{title}</span>
      <span class="run-bar" style={{ height: `${100 * barHeight(ms, longest)}%` }} />
    </a>
  );
}

interface CellProps {
  place: Place;
  row: GridRow;
  cell: GridCell | undefined;
  execution: Execution | undefined;
}

function Cell({ place, row, cell, execution }: CellProps) {
  if (!cell) return <span class="grid-cell none" />;
  const group = phaseGroup(asPhase(cell.phase));
  const took = cell.seconds === undefined ? "" : `, ${durationText(cell.seconds * 1000)}`;
  const title = `${row.id} in ${execution?.id?.name}: ${phaseLabel(asPhase(cell.phase))}${took}${cell.cached ? ", cached" : ""}`;
  return (
    <a
      class={`grid-cell phase-${group}`}
      href={links.execution(place, execution?.id?.name ?? "", { node: row.id })}
      title={title}
      aria-label={title}
    >
      <span class="level" style={{ height: `${Math.round(100 * share(cell, row.cells))}%` }} />
      {group !== "succeeded" && <PhaseIcon group={group} size={12} />}
    </a>
  );
}
