/** The graph of a workflow as it was registered, with the nodes as a table below it. */
import { useMemo, useState } from "preact/hooks";
import type { Workflow } from "../../api/entities.ts";
import { neighbours, runGraph } from "../../model/graph.ts";
import type { PlacedNode } from "../../model/layout.ts";
import { ClosureIndex, mapName } from "../../model/spec.ts";
import { ROOT, type RunNode, RunTree } from "../../model/tree.ts";
import { type EntityKind, links } from "../../routes.ts";
import { Empty, Skeleton } from "../../ui/Empty.tsx";
import { cut, Graph } from "../../ui/Graph.tsx";
import { type Column, Table } from "../../ui/Table.tsx";
import { useLayout } from "../../ui/useLayout.ts";
import { kindLabel } from "../execution/kinds.ts";

/** Nodes up to which sub-workflows and branches are unfolded at first. */
const UNFOLDED_MAX = 60;

/** Width of a character of a node's text in px, for cutting it. */
const CHARACTER_PX = 7.2;

/** An execution that does not exist: the tree shows the nodes of the workflow alone. */
const NO_EXECUTION = { project: "", domain: "", name: "" };

export function WorkflowGraph({ workflow }: { workflow: Workflow }) {
  const tree = useMemo(() => treeOf(workflow), [workflow]);
  const [folds, setFolds] = useState<ReadonlyMap<string, boolean>>(new Map());
  const [selected, setSelected] = useState<string>();
  const unfolded = useMemo(() => [...tree.walk()].length <= UNFOLDED_MAX, [tree]);
  const isOpen = (node: RunNode) => folds.get(node.key) ?? unfolded;
  const run = useMemo(() => runGraph(tree, isOpen), [tree, folds, unfolded]);
  const layout = useLayout(run.graph, run.shape);
  const nodes = useMemo(() => [...tree.walk()], [tree]);
  if (nodes.length === 0) return <Empty title="This workflow has no nodes" />;
  if (!layout) return <Skeleton />;
  const nodeOf = (id: string): RunNode | undefined => run.nodes.get(id);
  const fold = (id: string) => {
    const node = nodeOf(id);
    if (node) setFolds(new Map(folds).set(id, !isOpen(node)));
  };
  const neighbour = (id: string, direction: "left" | "right" | "up" | "down") => {
    const { before, after } = neighbours(run.graph, id);
    if (direction === "left") return before[0] ?? nodeOf(id)?.parent?.key;
    if (direction === "right") return after[0];
    const order = layout.nodes.filter((one) => nodeOf(one.id)?.parent === nodeOf(id)?.parent);
    const at = order.findIndex((one) => one.id === id);
    return order[at + (direction === "down" ? 1 : -1)]?.id;
  };
  return (
    <>
      <div class="static-graph">
        <Graph
          layout={layout}
          label={`Graph of ${nodes.length} nodes`}
          selected={selected}
          nodeClass={() => "phase-unknown"}
          nodeLabel={(id) => labelOf(nodeOf(id))}
          groupTitle={(id) => `${nodeOf(id)?.name ?? ""} · ${kindLabel(nodeOf(id)?.kind ?? "unknown")}`}
          renderNode={(placed) => <NodeText placed={placed} node={nodeOf(placed.id)} />}
          isFoldable={(id) => nodeOf(id)?.isContainer ?? false}
          onSelect={setSelected}
          onFold={fold}
          neighbour={neighbour}
        />
      </div>
      <details class="node-list">
        <summary>{nodes.length} nodes as a table</summary>
        <Table
          label="Nodes"
          columns={COLUMNS}
          rows={nodes}
          rowKey={(node) => node.key}
          onOpen={(node) => setSelected(node.key)}
          rowClass={(node) => (node.key === selected ? "chosen" : undefined)}
        />
      </details>
    </>
  );
}

function treeOf(workflow: Workflow): RunTree {
  const tree = new RunTree(NO_EXECUTION);
  const closure = workflow.closure?.compiled_workflow;
  if (closure) tree.setScope(ROOT, new ClosureIndex(closure).root);
  return tree;
}

function labelOf(node: RunNode | undefined): string {
  return node ? `${node.name}, ${kindLabel(node.kind)}` : "";
}

function NodeText({ placed, node }: { placed: PlacedNode; node: RunNode | undefined }) {
  if (!node) return null;
  const room = Math.floor((placed.width - (node.isContainer ? 34 : 20)) / CHARACTER_PX);
  const target = mapName(node.target?.name ?? "");
  const runs = node.kind === "task" ? target : `${kindLabel(node.kind)} ${target}`;
  return (
    <>
      <text x="10" y="17">
        {cut(node.name, room)}
      </text>
      <text class="graph-sub" x="10" y="32">
        {cut(runs, room + 3)}
      </text>
    </>
  );
}

const COLUMNS: readonly Column<RunNode>[] = [
  {
    key: "id",
    head: "Node",
    width: "12rem",
    cell: (node) => (
      <>
        <span class="muted">{"· ".repeat(node.depth)}</span>
        <span class="mono">{node.specId}</span>
      </>
    ),
  },
  { key: "name", head: "Name", cell: (node) => node.name },
  { key: "kind", head: "Kind", width: "8rem", cell: (node) => kindLabel(node.kind) },
  { key: "runs", head: "Runs", class: "wide", cell: (node) => <Target node={node} /> },
  { key: "after", head: "After", label: "After", cell: (node) => after(node) },
];

function after(node: RunNode): string {
  return (node.spec?.upstream ?? []).filter((id) => id !== "start-node").join(", ");
}

const KINDS: Readonly<Record<string, EntityKind>> = {
  TASK: "task",
  WORKFLOW: "workflow",
  LAUNCH_PLAN: "launch_plan",
};

function Target({ node }: { node: RunNode }) {
  const { target } = node;
  const kind = KINDS[target?.resource_type ?? ""];
  if (!target?.name) return null;
  const place = { project: target.project ?? "", domain: target.domain ?? "" };
  return kind ? (
    <a href={links.version(kind, place, target.name, target.version ?? "")}>{target.name}</a>
  ) : (
    <span>{target.name}</span>
  );
}
