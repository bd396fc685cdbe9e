// Layered drawing of a graph with nested groups, from left to right. No DOM.
//
// 1. Layers: the longest path from a node without predecessors. An edge that would close a cycle is not counted.
// 2. Long edges are split by dummy nodes of no height, so that they have a place between the nodes that they pass.
//    A graph whose long edges need too many dummies keeps the longest of them unsplit.
// 3. Order inside layers: sweeps by barycentre; the order with the fewest crossings is kept.
// 4. Coordinates: each layer moves to the mean of its neighbours under minimum distances (isotonic regression).
// Groups are laid out from the inside to the outside; a group is a node of the size of its content.

/** A node to be placed. A group has `inside`; its size is computed. */
export interface LayoutNode {
  readonly id: string;
  readonly width: number;
  readonly height: number;
  readonly inside?: LayoutGraph;
}

/** Sibling nodes and the edges between them; an edge to an unknown node is ignored. */
export interface LayoutGraph {
  readonly nodes: readonly LayoutNode[];
  readonly edges: readonly (readonly [from: string, to: string])[];
}

export interface PlacedNode {
  readonly id: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly layer: number;
  readonly isGroup: boolean;
}

export interface PlacedEdge {
  readonly from: string;
  readonly to: string;
  /** x and y of the points that the edge passes, from the first node's right side to the other's left side. */
  readonly points: readonly number[];
}

/** Groups come before the nodes inside them. */
export interface Layout {
  readonly width: number;
  readonly height: number;
  readonly nodes: PlacedNode[];
  readonly edges: PlacedEdge[];
}

/** Distances in the unit of the nodes' sizes. */
export interface Spacing {
  readonly layer: number;
  readonly node: number;
  readonly padding: number;
  readonly header: number;
}

export const SPACING: Spacing = { layer: 44, node: 14, padding: 12, header: 26 };
const SWEEPS = 6;
const DUMMY_HEIGHT = 2;
const DUMMIES_PER_NODE_MAX = 8;

interface Item {
  readonly node: LayoutNode | undefined;
  readonly width: number;
  readonly height: number;
  readonly inside: Layout | undefined;
  layer: number;
  order: number;
  /** The mean place of its neighbours, while a layer is sorted. */
  centre: number;
  y: number;
  readonly before: Item[];
  readonly after: Item[];
}

/** Return the places of all nodes, with the upper left corner at 0, 0. */
export function layOut(graph: LayoutGraph, spacing: Spacing = SPACING): Layout {
  const items = new Map(graph.nodes.map((node) => [node.id, itemOf(node, spacing)]));
  const edges = graph.edges.flatMap(([from, to]) => {
    const [source, target] = [items.get(from), items.get(to)];
    return source && target && source !== target ? [{ source, target, from, to }] : [];
  });
  assignLayers([...items.values()], edges);
  const forward = edges.filter((edge) => edge.source.layer < edge.target.layer);
  const layers = layersOf(items.values());
  const chains = splitLongEdges(forward, layers, items.size);
  orderLayers(layers);
  placeLayers(layers, spacing.node);
  return collect(layers, chains, edges, spacing);
}

function itemOf(node: LayoutNode, spacing: Spacing): Item {
  const inside = node.inside && layOut(node.inside, spacing);
  const width = inside ? Math.max(node.width, inside.width + 2 * spacing.padding) : node.width;
  const height = inside ? inside.height + spacing.header + spacing.padding : node.height;
  return item(node, width, height, inside, 0);
}

function item(
  node: LayoutNode | undefined,
  width: number,
  height: number,
  inside: Layout | undefined,
  layer: number,
): Item {
  return { node, width, height, inside, layer, order: 0, centre: 0, y: 0, before: [], after: [] };
}

interface Edge {
  readonly source: Item;
  readonly target: Item;
  readonly from: string;
  readonly to: string;
}

/** Longest paths without recursion. Items of a cycle are released one by one, in their given order. */
function assignLayers(items: readonly Item[], edges: readonly Edge[]): void {
  const missing = new Map<Item, number>(items.map((item) => [item, 0]));
  const targets = new Map<Item, Item[]>(items.map((item) => [item, []]));
  for (const { source, target } of edges) {
    missing.set(target, (missing.get(target) ?? 0) + 1);
    targets.get(source)?.push(target);
  }
  const ready = items.filter((item) => missing.get(item) === 0);
  const done = new Set<Item>();
  let rest = 0;
  for (;;) {
    const item = ready.pop() ?? nextOfCycle();
    if (!item) return;
    if (done.has(item)) continue;
    done.add(item);
    for (const target of targets.get(item) ?? []) {
      if (done.has(target)) continue;
      target.layer = Math.max(target.layer, item.layer + 1);
      const left = (missing.get(target) ?? 0) - 1;
      missing.set(target, left);
      if (left === 0) ready.push(target);
    }
  }

  function nextOfCycle(): Item | undefined {
    while (rest < items.length && done.has(items[rest] as Item)) rest++;
    return items[rest];
  }
}

function layersOf(items: Iterable<Item>): Item[][] {
  const layers: Item[][] = [];
  for (const item of items) {
    while (layers.length <= item.layer) layers.push([]);
    layers[item.layer]?.push(item);
  }
  return layers;
}

/** Connect neighbours in adjacent layers, with dummies for long edges; return the items that each edge passes. */
function splitLongEdges(edges: readonly Edge[], layers: Item[][], size: number): Map<Edge, Item[]> {
  const chains = new Map<Edge, Item[]>();
  let left = DUMMIES_PER_NODE_MAX * Math.max(size, 25);
  const byLength = [...edges].sort((a, b) => a.target.layer - a.source.layer - (b.target.layer - b.source.layer));
  for (const edge of byLength) {
    const dummies: Item[] = [];
    const count = edge.target.layer - edge.source.layer - 1;
    if (count <= left) {
      left -= count;
      for (let layer = edge.source.layer + 1; layer < edge.target.layer; layer++) {
        const dummy = item(undefined, 0, DUMMY_HEIGHT, undefined, layer);
        layers[layer]?.push(dummy);
        dummies.push(dummy);
      }
      const passed = [edge.source, ...dummies, edge.target];
      for (let index = 1; index < passed.length; index++) {
        (passed[index - 1] as Item).after.push(passed[index] as Item);
        (passed[index] as Item).before.push(passed[index - 1] as Item);
      }
    }
    chains.set(edge, dummies);
  }
  return chains;
}

function orderLayers(layers: readonly Item[][]): void {
  layers.forEach(numberItems);
  let best = layers.map((layer) => [...layer]);
  let fewest = countCrossings(layers);
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep++) {
    const down = sweep % 2 === 0;
    for (let step = 1; step < layers.length; step++) {
      const layer = layers[down ? step : layers.length - 1 - step] as Item[];
      for (const one of layer) one.centre = meanOrder(down ? one.before : one.after, one.order);
      layer.sort((a, b) => a.centre - b.centre || a.order - b.order);
      numberItems(layer);
    }
    const crossings = countCrossings(layers);
    if (crossings < fewest) {
      fewest = crossings;
      best = layers.map((layer) => [...layer]);
    }
  }
  best.forEach((layer, index) => {
    layer.forEach((one, at) => {
      (layers[index] as Item[])[at] = one;
    });
    numberItems(layer);
  });
}

function numberItems(layer: readonly Item[]): void {
  for (let index = 0; index < layer.length; index++) (layer[index] as Item).order = index;
}

function meanOrder(items: readonly Item[], otherwise: number): number {
  if (items.length === 0) return otherwise;
  let sum = 0;
  for (let index = 0; index < items.length; index++) sum += (items[index] as Item).order;
  return sum / items.length;
}

function meanY(items: readonly Item[]): number | undefined {
  if (items.length === 0) return undefined;
  let sum = 0;
  for (let index = 0; index < items.length; index++) sum += (items[index] as Item).y;
  return sum / items.length;
}

/** Count crossings between adjacent layers with a Fenwick tree, in O(edges · log nodes). */
function countCrossings(layers: readonly (readonly Item[])[]): number {
  let crossings = 0;
  for (let index = 1; index < layers.length; index++) {
    const size = layers[index]?.length ?? 0;
    const tree = new Int32Array(size + 1);
    let seen = 0;
    for (const item of layers[index - 1] ?? []) {
      for (const { order } of item.after) {
        let smaller = 0;
        for (let at = order + 1; at > 0; at -= at & -at) smaller += tree[at] as number;
        crossings += seen - smaller;
      }
      for (const { order } of item.after) {
        seen++;
        for (let at = order + 1; at <= size; at += at & -at) tree[at] = (tree[at] as number) + 1;
      }
    }
  }
  return crossings;
}

function placeLayers(layers: readonly Item[][], gap: number): void {
  for (const layer of layers) {
    let y = 0;
    for (const item of layer) {
      item.y = y + item.height / 2;
      y += item.height + gapAfter(item, gap);
    }
  }
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (let step = 0; step < layers.length; step++) {
      const layer = layers[down ? step : layers.length - 1 - step] as Item[];
      moveLayer(layer, down, gap);
    }
  }
}

function gapAfter(item: Item, gap: number): number {
  return item.node ? gap : gap / 2;
}

/** Move a layer's items as near as possible to their wishes, in order and without overlap: pool adjacent violators. */
function moveLayer(layer: readonly Item[], down: boolean, gap: number): void {
  const offsets: number[] = [];
  const blocks: { sum: number; weight: number; count: number }[] = [];
  let offset = 0;
  layer.forEach((item, index) => {
    const above = layer[index - 1];
    if (above) offset += above.height / 2 + gapAfter(above, gap) + item.height / 2;
    offsets.push(offset);
    const wished = meanY(down ? item.before : item.after);
    const weight = wished === undefined ? 0.01 : 1;
    let block = { sum: weight * ((wished ?? item.y) - offset), weight, count: 1 };
    for (let last = blocks.at(-1); last && last.sum / last.weight >= block.sum / block.weight; last = blocks.at(-1)) {
      blocks.pop();
      block = { sum: last.sum + block.sum, weight: last.weight + block.weight, count: last.count + block.count };
    }
    blocks.push(block);
  });
  let index = 0;
  for (const block of blocks) {
    for (let left = block.count; left > 0; left--, index++) {
      (layer[index] as Item).y = block.sum / block.weight + (offsets[index] as number);
    }
  }
}

function collect(
  layers: readonly Item[][],
  chains: ReadonlyMap<Edge, readonly Item[]>,
  edges: readonly Edge[],
  spacing: Spacing,
): Layout {
  const widths = layers.map((layer) => layer.reduce((most, item) => Math.max(most, item.width), 0));
  const lefts: number[] = [];
  let width = 0;
  for (const own of widths) {
    lefts.push(width);
    width += own + spacing.layer;
  }
  let top = Number.POSITIVE_INFINITY;
  let bottom = Number.NEGATIVE_INFINITY;
  for (const item of layers.flat()) {
    top = Math.min(top, item.y - item.height / 2);
    bottom = Math.max(bottom, item.y + item.height / 2);
  }
  const nodes: PlacedNode[] = [];
  const inner: PlacedEdge[] = [];
  const left = (item: Item): number => lefts[item.layer] ?? 0;
  for (const item of layers.flat()) if (item.node) place(item, item.node, left(item), item.y - item.height / 2 - top);
  const outer = edges.map((edge) => {
    const passed = [edge.source, ...(chains.get(edge) ?? []), edge.target];
    const points = passed.flatMap((item, index) => {
      const y = item.y - top;
      const [begin, end] = [left(item), left(item) + (widths[item.layer] ?? 0)];
      if (index === passed.length - 1) return [begin, y];
      // An edge bends between layers only: inside a layer it would pass under the nodes above and below its place.
      const start = index === 0 ? begin + item.width : begin;
      return start < end ? [start, y, end, y] : [start, y];
    });
    return { from: edge.from, to: edge.to, points };
  });
  const isEmpty = layers.length === 0;
  return {
    width: isEmpty ? 0 : width - spacing.layer,
    height: isEmpty ? 0 : bottom - top,
    nodes,
    edges: [...outer, ...inner],
  };

  function place(item: Item, node: LayoutNode, x: number, y: number): void {
    nodes.push({
      id: node.id,
      x,
      y,
      width: item.width,
      height: item.height,
      layer: item.layer,
      isGroup: item.inside !== undefined,
    });
    if (!item.inside) return;
    const [dx, dy] = [x + (item.width - item.inside.width) / 2, y + spacing.header];
    for (const placed of item.inside.nodes) nodes.push({ ...placed, x: placed.x + dx, y: placed.y + dy });
    for (const edge of item.inside.edges) {
      inner.push({ ...edge, points: edge.points.map((value, index) => value + (index % 2 === 0 ? dx : dy)) });
    }
  }
}
