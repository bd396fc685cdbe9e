import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Layout,
  type LayoutGraph,
  type LayoutNode,
  layOut,
  type PlacedNode,
  SPACING,
} from "../../src/model/layout.ts";
import { randomOf } from "./random.ts";

type Pair = readonly [string, string];

function box(id: string, inside?: LayoutGraph): LayoutNode {
  return { id, width: 120, height: 30, ...(inside ? { inside } : {}) };
}

/** A graph whose edges lead from lower to higher numbers. */
function randomGraph(random: () => number, size: number, prefix = "n", depth = 0): LayoutGraph {
  const nodes: LayoutNode[] = [];
  const edges: Pair[] = [];
  for (let index = 0; index < size; index++) {
    const id = `${prefix}${index}`;
    const inside =
      depth > 0 && random() < 0.2 ? randomGraph(random, 1 + Math.floor(random() * 5), `${id}.`, depth - 1) : undefined;
    nodes.push(box(id, inside));
    for (let count = Math.floor(random() * 3); count > 0 && index > 0; count--) {
      edges.push([`${prefix}${Math.floor(random() * index)}`, id]);
    }
  }
  return { nodes, edges };
}

function overlap(a: PlacedNode, b: PlacedNode): boolean {
  const e = 1e-6;
  return a.x + a.width > b.x + e && b.x + b.width > a.x + e && a.y + a.height > b.y + e && b.y + b.height > a.y + e;
}

function contains(outer: PlacedNode, inner: PlacedNode): boolean {
  const e = 1e-6;
  return (
    inner.x >= outer.x - e &&
    inner.y >= outer.y + SPACING.header - e &&
    inner.x + inner.width <= outer.x + outer.width + e &&
    inner.y + inner.height <= outer.y + outer.height + e
  );
}

/** Whether a curve between neighbouring points, in its steps, touches a node. */
function touches(points: readonly number[], node: PlacedNode): boolean {
  const e = 1e-6;
  for (let at = 2; at < points.length; at += 2) {
    const [x0, y0, x1, y1] = points.slice(at - 2, at + 2) as [number, number, number, number];
    for (let t = 0; t <= 1; t += 0.05) {
      const [a, b, c, d] = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t ** 3];
      const x = a * x0 + ((b + c) * (x0 + x1)) / 2 + d * x1;
      const y = (a + b) * y0 + (c + d) * y1;
      if (x > node.x + e && x < node.x + node.width - e && y > node.y + e && y < node.y + node.height - e) return true;
    }
  }
  return false;
}

function check(graph: LayoutGraph, layout: Layout): void {
  const byId = new Map(layout.nodes.map((node) => [node.id, node]));
  const visit = (one: LayoutGraph, group: PlacedNode | undefined): void => {
    const placed = one.nodes.map((node) => byId.get(node.id) as PlacedNode);
    for (const node of placed) {
      assert.ok(node && Number.isFinite(node.x) && Number.isFinite(node.y));
      assert.ok(node.x >= -1e-6 && node.y >= -1e-6 && node.x + node.width <= layout.width + 1e-6);
      assert.ok(node.y + node.height <= layout.height + 1e-6);
      if (group) assert.ok(contains(group, node), `${node.id} lies outside of ${group.id}`);
    }
    for (let a = 0; a < placed.length; a++) {
      for (let b = a + 1; b < placed.length; b++) {
        const [left, right] = [placed[a] as PlacedNode, placed[b] as PlacedNode];
        assert.ok(!overlap(left, right), `${left.id} overlaps ${right.id}`);
      }
    }
    for (const [from, to] of one.edges) {
      const [source, target] = [byId.get(from) as PlacedNode, byId.get(to) as PlacedNode];
      assert.ok(source.layer < target.layer, `${from} is not left of ${to}`);
      assert.ok(source.x + source.width < target.x);
      const edge = layout.edges.find((other) => other.from === from && other.to === to);
      for (const node of placed) {
        assert.ok(!touches(edge?.points ?? [], node), `the edge from ${from} to ${to} passes under ${node.id}`);
      }
    }
    for (const node of one.nodes) if (node.inside) visit(node.inside, byId.get(node.id));
  };
  visit(graph, undefined);
}

test("an empty graph has no size", () => {
  assert.deepEqual(layOut({ nodes: [], edges: [] }), { width: 0, height: 0, nodes: [], edges: [] });
});

test("a chain lies on a line", () => {
  const layout = layOut({
    nodes: [box("a"), box("b"), box("c")],
    edges: [
      ["a", "b"],
      ["b", "c"],
    ],
  });
  assert.deepEqual(
    layout.nodes.map((node) => node.layer),
    [0, 1, 2],
  );
  assert.equal(new Set(layout.nodes.map((node) => Math.round(node.y))).size, 1);
});

test("a long edge passes the nodes between its ends", () => {
  const edges: Pair[] = [
    ["a", "b"],
    ["b", "c"],
    ["a", "c"],
  ];
  const layout = layOut({ nodes: [box("a"), box("b"), box("c")], edges });
  const long = layout.edges.find((edge) => edge.from === "a" && edge.to === "c");
  assert.equal(long?.points.length, 8);
  const middle = layout.nodes.find((node) => node.id === "b") as PlacedNode;
  const y = long?.points[3] as number;
  assert.ok(y <= middle.y || y >= middle.y + middle.height);
});

test("crossings that can be avoided are avoided", () => {
  const edges: Pair[] = [
    ["a", "d"],
    ["b", "c"],
  ];
  const { nodes } = layOut({ nodes: [box("a"), box("b"), box("c"), box("d")], edges });
  const y = new Map(nodes.map((node) => [node.id, node.y]));
  const above = (one: string, other: string): boolean => (y.get(one) as number) < (y.get(other) as number);
  assert.equal(above("a", "b"), above("d", "c"));
});

test("a cycle, a loop and an edge to nowhere do not stop the layout", () => {
  const edges: Pair[] = [
    ["a", "b"],
    ["b", "a"],
    ["a", "a"],
    ["a", "gone"],
    ["b", "c"],
  ];
  const layout = layOut({ nodes: [box("a"), box("b"), box("c")], edges });
  assert.equal(layout.nodes.length, 3);
  assert.equal(layout.edges.length, 3);
});

test("random graphs: no overlap, edges lead to the right and under no node, groups hold their nodes", () => {
  for (let seed = 1; seed <= 150; seed++) {
    const random = randomOf(seed);
    const graph = randomGraph(random, 1 + Math.floor(random() * 40), "n", 2);
    check(graph, layOut(graph));
  }
});

test("the same graph is laid out the same way", () => {
  const graph = randomGraph(randomOf(7), 60, "n", 1);
  assert.deepEqual(layOut(graph), layOut(graph));
});

const SHAPES: Record<string, (size: number) => LayoutGraph> = {
  "two parents each": (size) => {
    const random = randomOf(3);
    const edges: Pair[] = [];
    for (let index = 1; index < size; index++) {
      for (let parent = 0; parent < 2; parent++)
        edges.push([`n${Math.max(0, index - 1 - Math.floor(random() * 12))}`, `n${index}`]);
    }
    return { nodes: Array.from({ length: size }, (_, index) => box(`n${index}`)), edges };
  },
  chains: (size) => ({
    nodes: Array.from({ length: size }, (_, index) => box(`n${index}`)),
    edges: Array.from({ length: size }, (_, index): Pair => [`n${index - 20}`, `n${index}`]),
  }),
  "fan out and in": (size) => ({
    nodes: Array.from({ length: size }, (_, index) => box(`n${index}`)),
    edges: Array.from({ length: size - 2 }, (_, index): Pair[] => [
      ["n0", `n${index + 1}`],
      [`n${index + 1}`, `n${size - 1}`],
    ]).flat(),
  }),
};

for (const [shape, make] of Object.entries(SHAPES)) {
  test(`${shape}: 1,000 nodes within 250 ms of CPU, 10,000 within 2.5 s`, (t) => {
    for (const [size, budgetMs] of [
      [1000, 250],
      [10_000, 2500],
    ] as const) {
      const graph = make(size);
      // CPU time: other processes do not count.
      const before = process.cpuUsage();
      const layout = layOut(graph);
      const { user, system } = process.cpuUsage(before);
      const took = (user + system) / 1000;
      t.diagnostic(`${size} nodes: ${took.toFixed(0)} ms`);
      assert.equal(layout.nodes.length, size);
      assert.ok(took <= budgetMs, `${size} nodes took ${took.toFixed(0)} ms`);
    }
  });
}
