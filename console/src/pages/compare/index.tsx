/** Compare two to five executions: settings, inputs, outputs, and the durations of nodes. */
import { useMemo, useState } from "preact/hooks";
import type { Execution } from "../../api/entities.ts";
import { type Live, useLive } from "../../api/live.ts";
import { navigate, query, setQuery } from "../../location.ts";
import { compareNodes, compareValues, type NodeRow, type Row, SUBJECTS_MAX, subjectsOf } from "../../model/compare.ts";
import { asPhase, isTerminal } from "../../model/phases.ts";
import { durationText } from "../../model/times.ts";
import { links, type PageProps, type Place } from "../../routes.ts";
import { Empty, Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Check } from "../../ui/Fields.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { Phase } from "../../ui/Phase.tsx";
import { Tabs } from "../../ui/Tabs.tsx";
import { Time } from "../../ui/Time.tsx";
import { firstError } from "../entities/data.ts";
import { useNodeNames } from "../entities/nodeNames.ts";
import { type Io, readExecutions, readIo, readNodes } from "./data.ts";
import { factsOf } from "./facts.ts";
import "./style.css";

const ACTIVE_MS = 3000;

export default function ComparePage({ project, domain }: PageProps<"compare">) {
  const place = { project, domain };
  const names = subjectsOf(query.value.get("executions"));
  const scope = `${project} ${domain} ${names.join(",")}`;
  const read = useLive<(Execution | undefined)[]>(
    names.length > 0 ? `ListExecutions compare ${scope}` : null,
    (signal, _, background) => readExecutions(place, names, { signal, background }),
    (found) => (found.some((one) => !isTerminal(asPhase(one?.closure?.phase))) ? ACTIVE_MS : null),
  );
  const found = read.data;
  const missing = found ? names.filter((_, index) => !found[index]) : [];
  const executions = (found ?? []).filter((one) => one !== undefined);
  return (
    <div class="stack compare">
      <div class="row">
        <h1>Compare executions</h1>
        {names.length < SUBJECTS_MAX && <AddExecution place={place} names={names} />}
      </div>
      <ErrorBox error={read.error} />
      {missing.map((name) => (
        <ErrorBox key={name} error={{ message: `There is no execution ${name} in ${project} / ${domain}.` }} />
      ))}
      {names.length === 0 && <HowTo place={place} />}
      {names.length > 0 && !found && !read.error && <Skeleton />}
      {executions.length > 0 && <Comparison key={scope} place={place} executions={executions} names={names} />}
    </div>
  );
}

function HowTo({ place }: { place: Place }) {
  return (
    <Empty title="Choose executions">
      <p>Select two to five rows in the list of executions, then “Compare”.</p>
      <a class="button primary" href={links.executions(place)}>
        Executions
      </a>
    </Empty>
  );
}

function AddExecution({ place, names }: { place: Place; names: readonly string[] }) {
  const [name, setName] = useState("");
  const add = (event: Event) => {
    event.preventDefault();
    if (!name.trim()) return;
    navigate(links.compare(place, [...names, name.trim()]));
    setName("");
  };
  return (
    <form class="row" onSubmit={add}>
      <input
        class="input add-execution"
        placeholder="Name of an execution"
        aria-label="Name of an execution to add"
        value={name}
        onInput={(event) => setName(event.currentTarget.value)}
      />
      <button type="submit" class="button" disabled={!name.trim()}>
        <Icon name="plus" /> Add
      </button>
    </form>
  );
}

type TabName = "values" | "nodes" | "settings";

interface ComparisonProps {
  place: Place;
  executions: readonly Execution[];
  names: readonly string[];
}

function Comparison({ place, executions, names }: ComparisonProps) {
  const tab = (query.value.get("tab") ?? "values") as TabName;
  const workflow = tab === "nodes" ? executions[0]?.closure?.workflow_id : undefined;
  const nodeNames = useNodeNames(place, workflow?.name, workflow?.version)?.names;
  const all = query.value.get("all") === "1";
  const ids = executions.map((one) => one.id?.name ?? "");
  const drop = (name: string) =>
    navigate(
      links.compare(
        place,
        names.filter((one) => one !== name),
      ),
    );
  const heads = executions.map((one) => <Subject key={one.id?.name} place={place} execution={one} onDrop={drop} />);
  const shared = { heads, all };
  return (
    <Tabs
      label="What is compared"
      tabs={[
        { key: "values", label: "Inputs and outputs" },
        { key: "nodes", label: "Nodes" },
        { key: "settings", label: "Versions and settings" },
      ]}
      value={tab}
      onChange={(key) => setQuery({ tab: key !== "values" && key })}
    >
      <div class="stack">
        <Check on={!all} onChange={(on) => setQuery({ all: !on && "1" })}>
          Differences only
        </Check>
        {tab === "values" && <ValuesOf place={place} names={ids} {...shared} />}
        {tab === "nodes" && <NodesOf place={place} names={ids} nodeNames={nodeNames} {...shared} />}
        {tab === "settings" && <Rows title="Settings" rows={compareValues(executions.map(factsOf))} {...shared} />}
      </div>
    </Tabs>
  );
}

interface SubjectProps {
  place: Place;
  execution: Execution;
  onDrop: (name: string) => void;
}

function Subject({ place, execution, onDrop }: SubjectProps) {
  const name = execution.id?.name ?? "";
  return (
    <span class="subject">
      <span class="row tight one-line">
        <a class="mono" href={links.execution(place, name)}>
          {name}
        </a>
        <button type="button" class="button quiet small icon-only" onClick={() => onDrop(name)}>
          <Icon name="cross" size={12} label={`Leave ${name} out`} />
        </button>
      </span>
      <Phase phase={execution.closure?.phase} />
      <span class="muted small">
        <Time at={execution.closure?.created_at} />
      </span>
    </span>
  );
}

interface Shown {
  heads: preact.JSX.Element[];
  /** Whether rows without a difference are shown. */
  all: boolean;
}

interface Named extends Shown {
  place: Place;
  names: readonly string[];
}

/** Read something of each execution; all of it is one piece of live data. */
function useEach<T>(what: string, place: Place, names: readonly string[], read: Reader<T>): Live<T[]> {
  const key = `${what} ${place.project} ${place.domain} ${names.join(",")}`;
  return useLive<T[]>(key, (signal, _, background) =>
    Promise.all(names.map((name) => read(place, name, { signal, background }))),
  );
}

type Reader<T> = (place: Place, name: string, options: { signal: AbortSignal; background: boolean }) => Promise<T>;

function ValuesOf({ place, names, ...shown }: Named) {
  const read = useEach<Io>("GetExecutionData compare", place, names, readIo);
  const rows = useMemo(
    () =>
      read.data && {
        inputs: compareValues(read.data.map((one) => one.inputs)),
        outputs: compareValues(read.data.map((one) => one.outputs)),
      },
    [read.data],
  );
  return (
    <>
      <ErrorBox error={firstError(read)} />
      {!rows && !read.error && <Skeleton />}
      {rows && <Rows title="Inputs" rows={rows.inputs} {...shown} />}
      {rows && <Rows title="Outputs" rows={rows.outputs} {...shown} />}
    </>
  );
}

/** Rows of a table that are drawn; more are counted. */
const ROWS_SHOWN = 500;

function Rows({ title, rows, heads, all }: Shown & { title: string; rows: readonly Row[] }) {
  const shown = rows.filter((row) => all || row.differs);
  return (
    <section class="stack" aria-label={title}>
      <h2>
        {title} <span class="muted count">{summary(rows)}</span>
      </h2>
      {shown.length > 0 && (
        <ComparisonTable heads={heads} label={title}>
          {shown.slice(0, ROWS_SHOWN).map((row) => (
            <tr key={row.path} class={row.differs ? "differs" : undefined}>
              <th scope="row" class="mono">
                {row.path}
              </th>
              {row.cells.map((cell, index) => (
                <td key={index}>
                  {cell === undefined ? <span class="muted">–</span> : <code title={cell}>{cut(cell)}</code>}
                </td>
              ))}
            </tr>
          ))}
        </ComparisonTable>
      )}
      {shown.length > ROWS_SHOWN && <p class="muted">and {shown.length - ROWS_SHOWN} more</p>}
    </section>
  );
}

/** Characters of a value before it is cut; the tooltip has the rest. */
const TEXT_MAX = 300;

function cut(text: string): string {
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
}

function summary(rows: readonly { readonly differs: boolean }[]): string {
  const differing = rows.filter((row) => row.differs).length;
  if (rows.length === 0) return "none";
  return differing === 0 ? `all ${rows.length} equal` : `${differing} of ${rows.length} differ`;
}

function ComparisonTable({
  heads,
  label,
  children,
}: {
  heads: preact.JSX.Element[];
  label: string;
  children: unknown;
}) {
  return (
    <div class="table-box compare-box" tabIndex={0} role="region" aria-label={label}>
      <table class="compare-table">
        <thead>
          <tr>
            <td />
            {heads.map((head) => (
              <th key={head.key} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children as preact.ComponentChildren}</tbody>
      </table>
    </div>
  );
}

type NodeNames = ReadonlyMap<string, string> | undefined;

function NodesOf({ place, names, nodeNames, ...shown }: Named & { nodeNames: NodeNames }) {
  const read = useEach("ListNodeExecutions compare", place, names, readNodes);
  const rows = useMemo(() => read.data && compareNodes(read.data), [read.data]);
  return (
    <>
      <ErrorBox error={firstError(read)} />
      {!rows && !read.error && <Skeleton />}
      {rows && (
        <NodeRows rows={rows.filter((row) => !/^(start|end)-node$/.test(row.id))} nodeNames={nodeNames} {...shown} />
      )}
    </>
  );
}

interface NodeRowsProps extends Shown {
  rows: readonly NodeRow[];
  nodeNames: NodeNames;
}

function NodeRows({ rows, nodeNames, heads, all }: NodeRowsProps) {
  const shown = rows.filter((row) => all || row.differs);
  return (
    <section class="stack" aria-label="Nodes">
      <h2>
        Nodes <span class="muted count">{summary(rows)}</span>
      </h2>
      {shown.length > 0 && (
        <ComparisonTable heads={heads} label="Nodes">
          {shown.slice(0, ROWS_SHOWN).map((row) => (
            <NodeLine key={row.id} row={row} name={nodeNames?.get(row.id)} />
          ))}
        </ComparisonTable>
      )}
    </section>
  );
}

function NodeLine({ row, name }: { row: NodeRow; name: string | undefined }) {
  const longest = Math.max(0, ...row.cells.map((cell) => cell?.seconds ?? 0));
  return (
    <tr class={row.differs ? "differs" : undefined}>
      <th scope="row">
        <span class="mono">{row.id}</span> <span class="muted">{name}</span>
      </th>
      {row.cells.map((cell, index) => (
        <td key={index} class={index === row.slowest ? "slowest" : undefined} title={cell?.error}>
          {cell ? (
            <>
              <span class="row tight">
                <Phase phase={cell.phase} compact />
                {cell.seconds === undefined ? "" : durationText(cell.seconds * 1000)}
                {cell.cached && <span class="muted">cached</span>}
                {index === row.slowest && <span class="slow-mark">slowest</span>}
              </span>
              <span class="share" style={{ width: `${longest ? (100 * (cell.seconds ?? 0)) / longest : 0}%` }} />
            </>
          ) : (
            <span class="muted">did not run</span>
          )}
        </td>
      ))}
    </tr>
  );
}
