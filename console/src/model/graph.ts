// The graph of a run, made of the rows of its tree: groups that are unfolded hold their nodes. No DOM.

import type { LayoutGraph, LayoutNode } from "./layout.ts";
import type { RunNode, RunTree } from "./tree.ts";

export const NODE_WIDTH = 176;
export const NODE_HEIGHT = 40;

export interface RunGraph {
  readonly graph: LayoutGraph;
  /** The rows of all nodes and groups, by key. */
  readonly nodes: ReadonlyMap<string, RunNode>;
  /** Changes when nodes, edges or groups do, not when phases do. */
  readonly shape: string;
}

/** Return the graph; `isOpen` decides which groups show their nodes. */
export function runGraph(tree: RunTree, isOpen: (node: RunNode) => boolean): RunGraph {
  const nodes = new Map<string, RunNode>();
  const shape: string[] = [];
  const graph = siblings(undefined);
  return { graph, nodes, shape: shape.join("\n") };

  function siblings(parent: RunNode | undefined): LayoutGraph {
    const children = tree.children(parent);
    const bySpec = new Map<string, string[]>();
    for (const node of children) {
      const keys = bySpec.get(node.specId) ?? [];
      keys.push(node.key);
      bySpec.set(node.specId, keys);
    }
    const edges: [string, string][] = [];
    const made: LayoutNode[] = children.map((node) => {
      nodes.set(node.key, node);
      for (const upstream of node.spec?.upstream ?? []) {
        for (const from of bySpec.get(upstream) ?? []) edges.push([from, node.key]);
      }
      const open = node.isContainer && isOpen(node);
      shape.push(`${open ? "[" : "-"}${node.key}`);
      const inside = open ? siblings(node) : undefined;
      if (open) shape.push("]");
      return {
        id: node.key,
        width: NODE_WIDTH,
        height: NODE_HEIGHT,
        ...(inside && inside.nodes.length > 0 ? { inside } : {}),
      };
    });
    for (const [from, to] of edges) shape.push(`${from}>${to}`);
    return { nodes: made, edges };
  }
}

/** Return the neighbours of a node along edges. */
export function neighbours(graph: LayoutGraph, key: string): { before: string[]; after: string[] } {
  const found: { before: string[]; after: string[] } = { before: [], after: [] };
  const visit = (one: LayoutGraph): void => {
    for (const [from, to] of one.edges) {
      if (to === key) found.before.push(from);
      if (from === key) found.after.push(to);
    }
    for (const node of one.nodes) if (node.inside) visit(node.inside);
  };
  visit(graph);
  return found;
}
