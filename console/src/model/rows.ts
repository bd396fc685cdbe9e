// Which rows of the tree are shown: unfolded, searched, failed, running or slowest. No DOM.

import { isActive, isFailure, type Phase } from "./phases.ts";
import type { RunNode, RunTree } from "./tree.ts";

/** How rows are chosen. */
export type RowFilter = "all" | "failed" | "running" | "slowest";

export interface RowOptions {
  readonly filter: RowFilter;
  /** Text to find in names, ids and tasks; "" for all. */
  readonly search: string;
  /** Whether a row's children are shown. A search and the filters show those of every match. */
  isOpen(node: RunNode): boolean;
}

/** A row, with its depth and what a tree grid announces about its place. */
export interface Row {
  readonly node: RunNode;
  readonly depth: number;
  readonly open: boolean;
  readonly position: number;
  readonly siblings: number;
}

/** Return the visible rows from top to bottom. */
export function visibleRows(tree: RunTree, options: RowOptions): Row[] {
  if (options.filter === "slowest") return slowest(tree, options.search);
  const matches = matcher(options);
  const rows: Row[] = [];
  if (!matches) {
    unfolded(tree, undefined, 0, options, rows);
    return rows;
  }
  const kept = new Set<RunNode>();
  for (const node of tree.walk()) {
    if (!matches(node)) continue;
    for (let at: RunNode | undefined = node; at && !kept.has(at); at = at.parent) kept.add(at);
  }
  filtered(tree, undefined, 0, kept, rows);
  return rows;
}

function unfolded(tree: RunTree, parent: RunNode | undefined, depth: number, options: RowOptions, rows: Row[]): void {
  const children = tree.children(parent);
  children.forEach((node, index) => {
    const open = node.isContainer && options.isOpen(node);
    rows.push({ node, depth, open, position: index + 1, siblings: children.length });
    if (open) unfolded(tree, node, depth + 1, options, rows);
  });
}

function filtered(tree: RunTree, parent: RunNode | undefined, depth: number, kept: Set<RunNode>, rows: Row[]): void {
  const children = tree.children(parent).filter((node) => kept.has(node));
  children.forEach((node, index) => {
    const open = node.isContainer && tree.children(node).some((child) => kept.has(child));
    rows.push({ node, depth, open, position: index + 1, siblings: children.length });
    if (open) filtered(tree, node, depth + 1, kept, rows);
  });
}

function matcher(options: RowOptions): ((node: RunNode) => boolean) | undefined {
  const words = options.search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0 && options.filter === "all") return undefined;
  return (node) => matchesFilter(node.phase, options.filter) && matchesWords(node, words);
}

function matchesFilter(phase: Phase, filter: RowFilter): boolean {
  if (filter === "failed") return isFailure(phase) || phase === "FAILING";
  if (filter === "running") return isActive(phase);
  return true;
}

function matchesWords(node: RunNode, words: readonly string[]): boolean {
  if (words.length === 0) return true;
  const error = node.run?.closure?.error?.message ?? "";
  const text = `${node.name} ${node.id} ${node.target?.name ?? ""} ${error}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function slowest(tree: RunTree, search: string): Row[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const nodes: RunNode[] = [];
  for (const node of tree.walk()) {
    if (node.startedMs !== undefined && matchesWords(node, words)) nodes.push(node);
  }
  const length = (node: RunNode): number => (node.endedMs ?? Number.POSITIVE_INFINITY) - (node.startedMs ?? 0);
  nodes.sort((a, b) => compareLengths(length(a), length(b)) || (a.startedMs ?? 0) - (b.startedMs ?? 0));
  return nodes.map((node, index) => ({ node, depth: 0, open: false, position: index + 1, siblings: nodes.length }));
}

/** Longest first. Running nodes have no length yet and come before the others. */
function compareLengths(a: number, b: number): number {
  return a === b ? 0 : b > a ? 1 : -1;
}

/** The failed row that explains an execution's failure, as far as its containers are loaded. */
export interface FailureSearch {
  readonly node: RunNode;
  /** Whether the row's children have to be loaded to look further. */
  readonly hasMore: boolean;
}

/** Return the failed leaf that ended first, and follow failed containers down to it. */
export function firstFailure(tree: RunTree): FailureSearch | undefined {
  let found: RunNode | undefined;
  for (;;) {
    const failed = tree.children(found).filter((node) => isFailure(node.phase) || node.phase === "FAILING");
    const first = failed.reduce<RunNode | undefined>(
      (best, node) => (best && endOf(best) <= endOf(node) ? best : node),
      undefined,
    );
    if (!first) return found && { node: found, hasMore: false };
    found = first;
    if (!first.isContainer) return { node: first, hasMore: false };
    if (!tree.isLoaded(first.key)) return { node: first, hasMore: true };
  }
}

function endOf(node: RunNode): number {
  return node.endedMs ?? Number.POSITIVE_INFINITY;
}

/** Return the active leaf that started last, to follow a running execution. */
export function newestActive(tree: RunTree): RunNode | undefined {
  let newest: RunNode | undefined;
  for (const node of tree.walk()) {
    if (!isActive(node.phase) || tree.children(node).some((child) => isActive(child.phase))) continue;
    if (!newest || (node.startedMs ?? 0) >= (newest.startedMs ?? 0)) newest = node;
  }
  return newest;
}
