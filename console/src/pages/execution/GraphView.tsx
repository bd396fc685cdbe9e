/** The run as a graph, with the selection and the unfolded groups of the tree. */
import { useCallback, useEffect, useMemo } from "preact/hooks";
import { neighbours, runGraph } from "../../model/graph.ts";
import type { PlacedNode } from "../../model/layout.ts";
import { phaseGroup, phaseLabel } from "../../model/phases.ts";
import { durationText } from "../../model/times.ts";
import type { RunNode } from "../../model/tree.ts";
import { Empty, Skeleton } from "../../ui/Empty.tsx";
import { cut, Graph } from "../../ui/Graph.tsx";
import { PhaseIcon } from "../../ui/Phase.tsx";
import { useLayout } from "../../ui/useLayout.ts";
import { kindLabel } from "./kinds.ts";
import { selection, selectNode } from "./selection.ts";
import type { RunStore } from "./store.ts";

/** Nodes up to which groups are unfolded at first. */
const UNFOLDED_MAX = 60;

export function GraphView({ store }: { store: RunStore }) {
  const version = store.version.value;
  const unfolded = store.unfolded.value;
  useUnfoldSmall(store);
  const run = useMemo(() => runGraph(store.tree, store.isOpen), [store, version, unfolded]);
  const layout = useLayout(run.graph, run.shape);
  const { node: selected } = selection.value;
  const nodeOf = (id: string): RunNode | undefined => run.nodes.get(id);
  const nodeClass = useCallback((id: string) => `phase-${phaseGroup(run.nodes.get(id)?.phase ?? "UNDEFINED")}`, [run]);
  if (run.nodes.size === 0) return <Empty title="No node is known yet" />;
  if (!layout) return <Skeleton />;
  const neighbour = (id: string, direction: "left" | "right" | "up" | "down") => {
    const { before, after } = neighbours(run.graph, id);
    if (direction === "left") return before[0] ?? nodeOf(id)?.parent?.key;
    if (direction === "right") return after[0];
    const placed = layout.nodes.find((node) => node.id === id);
    return placed && beside(layout.nodes, placed, direction === "down", (key) => nodeOf(key)?.parent?.key);
  };
  return (
    <Graph
      layout={layout}
      label={`Graph of ${run.nodes.size} nodes`}
      selected={selected}
      nodeClass={nodeClass}
      nodeLabel={(id) => labelOf(nodeOf(id))}
      groupTitle={(id) => `${nodeOf(id)?.name ?? ""} · ${kindLabel(nodeOf(id)?.kind ?? "unknown")}`}
      renderNode={(placed) => <NodeText placed={placed} node={nodeOf(placed.id)} />}
      isFoldable={(id) => nodeOf(id)?.isContainer ?? false}
      onSelect={(id) => selectNode(id, false)}
      onFold={(id) => {
        const node = nodeOf(id);
        if (node) void store.setOpen(node, !store.isOpen(node));
      }}
      neighbour={neighbour}
    />
  );
}

/** Unfold the groups of a small execution once, so that its graph shows what runs inside. */
function useUnfoldSmall(store: RunStore): void {
  useEffect(() => {
    let count = 0;
    const groups: RunNode[] = [];
    for (const node of store.tree.walk()) {
      count++;
      const inside = node.kind === "workflow" || node.kind === "branch" || node.kind === "dynamic";
      if (inside && node.parent === undefined && !store.unfolded.peek().has(node.key)) groups.push(node);
    }
    if (count <= UNFOLDED_MAX && groups.length <= 5) for (const node of groups) void store.setOpen(node, true);
  }, [store]);
}

function NodeText({ placed, node }: { placed: PlacedNode; node: RunNode | undefined }) {
  if (!node) return null;
  const length =
    node.startedMs !== undefined && node.endedMs !== undefined ? durationText(node.endedMs - node.startedMs) : "";
  const chars = Math.floor((placed.width - (node.isContainer ? 54 : 40)) / 7.2);
  const sub = [node.kind === "task" ? (node.target?.name ?? "") : kindLabel(node.kind), length]
    .filter(Boolean)
    .join(" · ");
  return (
    <>
      <g class="graph-icon" transform={`translate(9 ${placed.height / 2 - 7})`}>
        <PhaseIcon group={phaseGroup(node.phase)} />
      </g>
      <text x="30" y="17">
        {cut(node.name, chars)}
      </text>
      <text class="graph-sub" x="30" y="32">
        {cut(sub, chars + 3)}
      </text>
    </>
  );
}

function labelOf(node: RunNode | undefined): string {
  return node ? `${node.name}, ${kindLabel(node.kind)}, ${phaseLabel(node.phase)}` : "";
}

/** Return the next node above or below in the same layer of the same group. */
function beside(
  nodes: readonly PlacedNode[],
  from: PlacedNode,
  down: boolean,
  parentOf: (key: string) => string | undefined,
): string | undefined {
  const parent = parentOf(from.id);
  let best: PlacedNode | undefined;
  for (const node of nodes) {
    const isBeyond = down ? node.y > from.y : node.y < from.y;
    if (!isBeyond || node.layer !== from.layer || parentOf(node.id) !== parent) continue;
    if (!best || Math.abs(node.y - from.y) < Math.abs(best.y - from.y)) best = node;
  }
  return best?.id;
}
