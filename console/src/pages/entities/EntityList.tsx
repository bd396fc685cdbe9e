/** The lists of workflows and of tasks: one row per name. */
import { useMemo } from "preact/hooks";
import { type Execution, resourceType, type Task, type Workflow } from "../../api/entities.ts";
import { Guarded, guarded } from "../../frame/Guarded.tsx";
import { navigate, setQuery } from "../../location.ts";
import { type EntityRow, entityRows, shownRows, type View } from "../../model/entityRows.ts";
import type { Interface } from "../../model/signature.ts";
import { links, type Place } from "../../routes.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { Menu } from "../../ui/Menu.tsx";
import { type Column, Table } from "../../ui/Table.tsx";
import { archive } from "./archive.ts";
import { firstError, useNames, useNewestRuns, useNewestVersions } from "./data.ts";
import { Signature } from "./Interface.tsx";
import { ListFrame, viewOfAddress } from "./ListFrame.tsx";
import { Nothing } from "./Nothing.tsx";
import { LastRun, RunBars } from "./RunBars.tsx";
import "./style.css";

type Kind = "workflow" | "task";
type Row = EntityRow<Workflow | Task, Execution>;

const TITLES = { workflow: "Workflows", task: "Tasks" } as const;

/** A list of workflows or tasks. It reads names, versions and executions once each, whatever the number of rows. */
export function EntityList({ kind, place }: { kind: Kind; place: Place }) {
  const names = useNames(kind, place);
  const versions = useNewestVersions(kind, place);
  const runs = useNewestRuns(place);
  const view = viewOfAddress();
  const rows = useMemo(() => {
    const lists = { names: names.data ?? [], versions: versions.data, runs: runs.data };
    return entityRows<Workflow | Task, Execution>(lists, resourceType(kind));
  }, [names.data, versions.data, runs.data, kind]);
  const shown = useShown(rows, view);
  const columns = useMemo(() => columnsOf(kind, place), [kind, place.project, place.domain]);
  return (
    <ListFrame title={TITLES[kind]} view={view} rows={rows} shown={shown.length}>
      <ErrorBox error={firstError(names, versions, runs)} />
      {names.data === undefined && !names.error && <Skeleton />}
      {names.data && shown.length === 0 && <Nothing what={TITLES[kind].toLowerCase()} view={view} place={place} />}
      {shown.length > 0 && (
        <Table
          label={TITLES[kind]}
          columns={columns}
          rows={shown}
          rowKey={(row) => row.name}
          onOpen={(row) => navigate(links.entity(kind, place, row.name))}
          {...sorting(view)}
        />
      )}
    </ListFrame>
  );
}

/** Return the rows of a view. The order by last run is that of the moment when it was asked for, so no row jumps. */
export function useShown<V, R extends Execution>(rows: readonly EntityRow<V, R>[], view: View): EntityRow<V, R>[] {
  const ready = rows.some((row) => row.runs.length > 0);
  const order = useMemo(() => {
    const sorted = shownRows(rows, { ...view, text: "" });
    return new Map(sorted.map((row, index) => [row.name, index]));
  }, [view.sort, view.archived, rows.length, ready]);
  return useMemo(() => {
    const found = shownRows(rows, { ...view, sort: "name" });
    if (view.text.trim() || view.sort === "name") return found;
    return found.sort((left, right) => (order.get(left.name) ?? 0) - (order.get(right.name) ?? 0));
  }, [rows, order, view.text, view.sort, view.archived]);
}

/** Return the properties of a table for the sort order in the address. */
export function sorting(view: View) {
  return {
    sort: { key: view.sort, descending: view.sort === "run" },
    onSort: ({ key }: { key: string }) => setQuery({ sort: key === "run" && "run" }),
  };
}

function columnsOf(kind: Kind, place: Place): Column<Row>[] {
  return [
    {
      key: "name",
      head: "Name",
      class: "wide",
      sortable: true,
      cell: (row) => (
        <>
          <a class="main" href={links.entity(kind, place, row.name)} title={row.name}>
            {row.name}
          </a>
          {row.description && <span class="muted"> {row.description}</span>}
        </>
      ),
    },
    {
      key: "run",
      // Runs of a task inside workflows do not count: no call lists them.
      head: kind === "task" ? "Last run alone" : "Last run",
      width: "12.5rem",
      sortable: true,
      cell: (row) => <LastRun place={place} runs={row.runs} />,
    },
    {
      key: "bars",
      head: "Last 10",
      width: "7.5rem",
      cell: (row) => <RunBars place={place} runs={row.runs} name={row.name} />,
    },
    { key: "version", head: "Newest version", width: "13rem", cell: (row) => <Newest {...{ kind, place, row }} /> },
    {
      key: "signature",
      head: "Inputs → outputs",
      class: "wide",
      cell: (row) => row.versions[0] && <Signature of={interfaceOf(row.versions[0])} />,
    },
    {
      key: "actions",
      head: "",
      width: "6.5rem",
      class: "actions",
      cell: (row) => <Actions {...{ kind, place, row }} />,
    },
  ];
}

/** Return the interface of a version of a workflow or task. */
export function interfaceOf(version: Workflow | Task): Interface | null | undefined {
  const closure = version.closure;
  if (!closure) return undefined;
  if ("compiled_workflow" in closure) return closure.compiled_workflow?.primary?.template?.interface;
  return "compiled_task" in closure ? closure.compiled_task?.template?.interface : undefined;
}

function Newest({ kind, place, row }: { kind: Kind; place: Place; row: Row }) {
  const version = row.versions[0]?.id?.version;
  if (version === undefined) return <span class="muted">{row.olderVersions ? "older" : ""}</span>;
  const more = row.versions.length - 1;
  return (
    <>
      <a href={links.version(kind, place, row.name, version)} title={version}>
        {version}
      </a>
      {more > 0 && (
        <span class="muted">
          {" "}
          +{more}
          {row.olderVersions && "…"}
        </span>
      )}
    </>
  );
}

function Actions({ kind, place, row }: { kind: Kind; place: Place; row: Row }) {
  const version = row.versions[0]?.id?.version;
  return (
    <span class="row tight actions-row">
      <Guarded need="run" place={place} class="button small" href={links.launch(kind, place, row.name, { version })}>
        Launch
      </Guarded>
      <Menu
        button={<Icon name="dots" />}
        label={`More about ${row.name}`}
        class="button quiet small icon-only"
        items={[
          ...(kind === "workflow" ? [{ label: "Run grid", href: links.grid(place, row.name) }] : []),
          ...guarded("register", place, [
            {
              label: row.archived ? "Take out of the archive" : "Archive",
              onSelect: () => void archive(kind, place, row.name, !row.archived),
            },
          ]),
        ]}
      />
    </span>
  );
}
