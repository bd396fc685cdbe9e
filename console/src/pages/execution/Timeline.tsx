/** The run as a tree with bars: search, filters, counts, and the keys of the tree. */
import { useMemo, useRef, useState } from "preact/hooks";
import type { Schema } from "../../api/client.ts";
import { asPhase, countGroups, GROUPS, groupLabel, isTerminal, phaseGroup, phaseLabel } from "../../model/phases.ts";
import { type Row, type RowFilter, visibleRows } from "../../model/rows.ts";
import { rangeOf, segments } from "../../model/timeline.ts";
import { durationText, timeMs } from "../../model/times.ts";
import type { RunNode } from "../../model/tree.ts";
import { Empty, Skeleton } from "../../ui/Empty.tsx";
import { Axis, Bar } from "../../ui/Gantt.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { useKeys } from "../../ui/keys.ts";
import { PhaseIcon } from "../../ui/Phase.tsx";
import { useNow } from "../../ui/Time.tsx";
import { Tree, type TreeRow } from "../../ui/Tree.tsx";
import { kindLabel } from "./kinds.ts";
import { HoverCard, useHover } from "./NodeTimes.tsx";
import { type PanelKey, selection, selectNode } from "./selection.ts";
import { ROWS_MAX, type RunStore } from "./store.ts";

const ROW_PX = 28;
/** Width of a window in which the axis has room for few marks. */
const NARROW_PX = 720;
const ZOOMS = [1, 2, 4, 8, 16];

interface NodeRow extends TreeRow {
  readonly row: Row;
}

export function Timeline({
  store,
  execution,
  isRead,
}: {
  store: RunStore;
  execution: Schema<"admin.Execution">;
  isRead: boolean;
}) {
  const [filter, setFilter] = useState<RowFilter>("all");
  const [search, setSearch] = useState("");
  const [zoom, setZoom] = useState(1);
  const version = store.version.value;
  const unfolded = store.unfolded.value;
  const running = !isTerminal(asPhase(execution.closure?.phase));
  const now = useNow(running);
  const nowMs = running ? Math.max(now, store.lastEventMs()) : (timeMs(execution.closure?.updated_at) ?? now);
  const rows = useMemo(
    () => visibleRows(store.tree, { filter, search, isOpen: store.isOpen }),
    [store, version, unfolded, filter, search],
  );
  const all = useMemo(() => [...store.tree.walk()], [store, version]);
  const startMs = timeMs(execution.closure?.created_at);
  const endMs = running ? nowMs : (startMs ?? nowMs);
  const whole = useMemo(() => rangeOf(all, startMs, endMs), [all, startMs, endMs]);
  const { node: selected } = selection.value;
  const range = zoom === 1 ? whole : zoomed(whole, zoom, selected ? store.tree.find(selected) : undefined);
  const searchField = useRef<HTMLInputElement>(null);
  useNodeKeys(searchField);
  const { hover, handlersOf } = useHover();
  // A step to another row changes none of the others.
  const treeRows = useMemo(() => rows.map((row) => treeRow(row, nowMs)), [rows, nowMs]);
  const counts = useMemo(() => <Counts nodes={all.filter((node) => store.isKnown(node))} />, [store, all]);
  const clear = () => {
    setFilter("all");
    setSearch("");
  };
  return (
    <section class="timeline" aria-label="Nodes">
      <div class="timeline-bar">
        <input
          ref={searchField}
          type="search"
          class="input"
          placeholder="Search nodes"
          aria-label="Search nodes"
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
        />
        <Filters filter={filter} setFilter={setFilter} />
        <span class="row tight">
          <button
            type="button"
            class="button quiet small"
            title="Unfold all groups that are read, and read their nodes"
            onClick={() => void unfoldAll(store)}
          >
            Unfold
          </button>
          <button type="button" class="button quiet small" title="Fold all groups" onClick={() => store.foldAll()}>
            Fold
          </button>
          <button
            type="button"
            class="button quiet small icon-only"
            disabled={zoom === 1}
            onClick={() => setZoom(step(zoom, -1))}
          >
            <Icon name="minus" label="Show more time" />
          </button>
          <button
            type="button"
            class="button quiet small icon-only"
            disabled={zoom === ZOOMS.at(-1)}
            onClick={() => setZoom(step(zoom, 1))}
          >
            <Icon name="plus" label="Show less time around the selected node" />
          </button>
        </span>
        {counts}
      </div>
      {store.isTruncated("") && (
        <p class="notice warning">Only the first {ROWS_MAX.toLocaleString("en")} nodes are shown.</p>
      )}
      {!isRead && rows.length === 0 ? (
        <Skeleton />
      ) : rows.length === 0 ? (
        <Nothing filter={filter} search={search} clear={clear} />
      ) : (
        <Tree<NodeRow>
          rows={treeRows}
          label="Nodes of the execution"
          rowHeight={ROW_PX}
          columns={3}
          selected={selected}
          header={
            <div class="tree-header" role="row">
              <span role="columnheader" class="cell-name">
                Node
              </span>
              <span role="columnheader" class="cell-time">
                Time
              </span>
              <span role="columnheader" class="cell-bar" aria-label="Timeline">
                <Axis range={range} originMs={startMs ?? range.startMs} marksMax={innerWidth <= NARROW_PX ? 2 : 6} />
              </span>
            </div>
          }
          renderCells={({ row }) => (
            <>
              <NameCell row={row} store={store} />
              <span role="gridcell" class="cell-time number">
                {lengthText(row.node, nowMs)}
              </span>
              <span role="gridcell" class="cell-bar" aria-hidden="true" {...handlersOf(row.node)}>
                <Bar range={range} segments={segments(row.node, store.attemptsOf(row.node), nowMs)} />
              </span>
            </>
          )}
          onSelect={({ row }) => selectNode(row.node.key, false)}
          onToggle={({ row }, open) => void store.setOpen(row.node, open)}
          onActivate={() => (document.querySelector(".panel") as HTMLElement | null)?.focus()}
        />
      )}
      {hover && <HoverCard hover={hover} store={store} />}
    </section>
  );
}

/** Keys of the page: they act on the selected node. */
function useNodeKeys(field: { current: HTMLInputElement | null }): void {
  const open = (panel: PanelKey) => () => {
    const { node } = selection.peek();
    if (node !== undefined) selectNode(node, true, panel);
  };
  useKeys("Nodes of the execution", [
    { keys: "/", text: "search nodes", run: () => field.current?.focus() },
    { keys: "l", text: "log of the selected node", run: open("log") },
    { keys: "e", text: "error of the selected node", run: open("error") },
    { keys: "i", text: "inputs of the selected node", run: open("inputs") },
    { keys: "o", text: "outputs of the selected node", run: open("outputs") },
  ]);
}

const FILTERS: { key: RowFilter; label: string }[] = [
  { key: "failed", label: "Failed" },
  { key: "running", label: "Running" },
  { key: "slowest", label: "Slowest" },
];

function Filters({ filter, setFilter }: { filter: RowFilter; setFilter: (filter: RowFilter) => void }) {
  return (
    <span class="row tight">
      {FILTERS.map(({ key, label }) => (
        <button
          key={key}
          type="button"
          class="button small"
          aria-pressed={filter === key}
          onClick={() => setFilter(filter === key ? "all" : key)}
        >
          {label}
        </button>
      ))}
    </span>
  );
}

function Counts({ nodes }: { nodes: readonly RunNode[] }) {
  const leaves = nodes.filter((node) => node.kind !== "execution");
  const counts = countGroups(leaves.map((node) => node.phase));
  return (
    <span class="counts" role="status">
      <span class="muted">
        {leaves.length.toLocaleString("en")} {leaves.length === 1 ? "node" : "nodes"}
      </span>
      {GROUPS.filter((group) => counts.get(group)).map((group) => (
        <span key={group} class={`phase phase-${group}`} title={`${counts.get(group)} ${groupLabel(group)}`}>
          <PhaseIcon group={group} size={12} />
          {counts.get(group)}
          <span class="hidden-text"> {groupLabel(group)}</span>
        </span>
      ))}
    </span>
  );
}

function Nothing({ filter, search, clear }: { filter: RowFilter; search: string; clear: () => void }) {
  if (filter === "all" && !search) return <Empty title="No node has started yet" />;
  return (
    <Empty title="No node matches">
      <p>
        Only nodes of unfolded groups are searched.{" "}
        <button type="button" class="button small" onClick={clear}>
          Show all nodes
        </button>
      </p>
    </Empty>
  );
}

function NameCell({ row, store }: { row: Row; store: RunStore }) {
  const { node } = row;
  const failure = store.failures.value.get(node.key);
  const loading = store.loading.value.has(node.key);
  const cache = node.run?.closure?.task_node_metadata?.cache_status;
  return (
    <span role="gridcell" class="cell-name" style={{ paddingInlineStart: `${row.depth * 16}px` }}>
      {node.isContainer ? (
        <button
          type="button"
          tabIndex={-1}
          class="fold"
          aria-label={`${row.open ? "Fold" : "Unfold"} ${node.name}`}
          onClick={() => void store.setOpen(node, !row.open)}
        >
          {loading ? "…" : row.open ? "▾" : "▸"}
        </button>
      ) : (
        <span class="fold" />
      )}
      <span class={`phase phase-${phaseGroup(node.phase)}`} title={phaseLabel(node.phase)}>
        <PhaseIcon group={phaseGroup(node.phase)} />
      </span>
      <span class="node-name ellipsis" title={`${node.id} ${node.name}`}>
        {node.name}
      </span>
      {KINDS_SHOWN.has(node.kind) && <span class="node-kind">{kindLabel(node.kind)}</span>}
      {cache === "CACHE_HIT" && <span class="node-kind">cached</span>}
      {node.phase === "RECOVERED" && <span class="node-kind">recovered</span>}
      {failure && (
        <span class="node-kind danger" title={failure.message}>
          not read
        </span>
      )}
    </span>
  );
}

const KINDS_SHOWN = new Set([
  "dynamic",
  "map",
  "branch",
  "workflow",
  "launchPlan",
  "gate",
  "sleep",
  "eager",
  "execution",
]);

function treeRow(row: Row, nowMs: number): NodeRow {
  const { node } = row;
  return {
    row,
    key: node.key,
    depth: row.depth,
    open: node.isContainer ? row.open : undefined,
    position: row.position,
    siblings: row.siblings,
    label: () =>
      [node.name, kindLabel(node.kind), phaseLabel(node.phase), lengthText(node, nowMs)].filter(Boolean).join(", "),
  };
}

function lengthText(node: RunNode, nowMs: number): string {
  if (node.startedMs === undefined) return "";
  return durationText(Math.max(0, (node.endedMs ?? nowMs) - node.startedMs));
}

function step(zoom: number, by: number): number {
  return ZOOMS[Math.min(ZOOMS.length - 1, Math.max(0, ZOOMS.indexOf(zoom) + by))] ?? 1;
}

/** Return a part of the range around the selected node's middle. */
function zoomed(range: { startMs: number; endMs: number }, zoom: number, node: RunNode | undefined) {
  const length = (range.endMs - range.startMs) / zoom;
  const from = node?.startedMs ?? node?.createdMs ?? range.endMs;
  const middle = (from + (node?.endedMs ?? range.endMs)) / 2;
  const startMs = Math.min(Math.max(range.startMs, middle - length / 2), range.endMs - length);
  return { startMs, endMs: startMs + length };
}

/** Groups that "Unfold" reads at most. */
const UNFOLD_MAX = 50;

async function unfoldAll(store: RunStore): Promise<void> {
  const groups = [...store.tree.walk()].filter((node) => node.isContainer && !store.isOpen(node));
  await Promise.all(groups.slice(0, UNFOLD_MAX).map((node) => store.setOpen(node, true)));
}
