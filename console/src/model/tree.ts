// The tree of an execution: node executions, merged with the nodes of the workflow that have not started. No DOM.
//
// A container is the root, or a node that has nodes inside. It holds the node executions that one list call returned
// (`unique_parent_id`), and the scope of the workflow that they belong to, where that is known. Containers change as
// replies arrive; `children()` merges both and keeps the result until the container changes again.

import type { Identifier, NodeExecution } from "./api.ts";
import { asPhase, isActive, isTerminal, type Phase } from "./phases.ts";
import { END_NODE, mapName, type NodeKind, type Scope, type SpecNode, START_NODE } from "./spec.ts";
import { durationMs, timeMs } from "./times.ts";

/** The execution that a node belongs to; child executions are opened in place, so it may differ inside one tree. */
export interface ExecutionKey {
  readonly project: string;
  readonly domain: string;
  readonly name: string;
}

/** One row of the tree. */
export interface RunNode {
  /** Unique in the tree, and the value of `node=` in the address. */
  readonly key: string;
  /** The unique id inside its execution; "" for the row of a child execution. */
  readonly id: string;
  readonly specId: string;
  readonly execution: ExecutionKey;
  readonly parent: RunNode | undefined;
  readonly depth: number;
  readonly name: string;
  readonly kind: NodeKind | "execution";
  readonly target: Identifier | undefined;
  readonly phase: Phase;
  readonly run: NodeExecution | undefined;
  readonly spec: SpecNode | undefined;
  /** Whether nodes are inside, as far as known. */
  readonly isContainer: boolean;
  readonly createdMs: number | undefined;
  readonly startedMs: number | undefined;
  /** The end of a terminal node. */
  readonly endedMs: number | undefined;
}

/** The row of a child execution: the node's own execution, or one that an eager task launched. */
export interface ChildExecution {
  readonly execution: ExecutionKey;
  readonly phase: Phase;
  readonly target: Identifier | undefined;
  readonly createdMs: number | undefined;
  readonly startedMs: number | undefined;
  readonly endedMs: number | undefined;
}

interface Container {
  runs: Map<string, NodeExecution>;
  scope: Scope | undefined;
  executions: readonly ChildExecution[];
  loaded: boolean;
  /** Whether `execution` below replaces the execution of the parent: a launch plan's child execution. */
  execution: ExecutionKey | undefined;
  children: readonly RunNode[] | undefined;
  /** The parent row and phase for which `children` was made. */
  madeFor: RunNode | undefined;
}

export const ROOT = "";

/** The merged nodes of one execution. Not a signal: `version` counts changes. */
export class RunTree {
  version = 0;
  private readonly containers = new Map<string, Container>();

  constructor(readonly execution: ExecutionKey) {}

  /** Store the node executions of a container; of two versions of one node, the later one is kept. */
  merge(key: string, runs: readonly NodeExecution[]): boolean {
    const container = this.container(key);
    let changed = !container.loaded;
    container.loaded = true;
    for (const run of runs) {
      const id = run.id?.node_id ?? "";
      const known = container.runs.get(id);
      if (known && !isNewer(run, known)) continue;
      container.runs.set(id, run);
      changed = true;
    }
    if (changed) this.changed(container);
    return changed;
  }

  /** Set the nodes that a container has by its workflow. */
  setScope(key: string, scope: Scope): void {
    const container = this.container(key);
    if (container.scope === scope) return;
    container.scope = scope;
    this.changed(container);
  }

  /** Set the child execution whose nodes a container shows. */
  setExecution(key: string, execution: ExecutionKey): void {
    const container = this.container(key);
    container.execution = execution;
    this.changed(container);
  }

  /** Set the executions that an eager task launched. */
  setChildExecutions(key: string, executions: readonly ChildExecution[]): void {
    const container = this.container(key);
    container.executions = executions;
    container.loaded = true;
    this.changed(container);
  }

  isLoaded(key: string): boolean {
    return this.containers.get(key)?.loaded ?? false;
  }

  hasScope(key: string): boolean {
    return this.containers.get(key)?.scope !== undefined;
  }

  /** Return the keys of containers that have been read. */
  loadedKeys(): string[] {
    return [...this.containers].filter(([, container]) => container.loaded).map(([key]) => key);
  }

  /** Whether a node of a container is active. */
  hasActive(key: string): boolean {
    const container = this.containers.get(key);
    for (const run of container?.runs.values() ?? []) if (isActive(asPhase(run.closure?.phase))) return true;
    return container?.executions.some((child) => isActive(child.phase)) ?? false;
  }

  /** Return the time of the last change in a container, for a filter on `updated_at`; "" without one. */
  lastUpdate(key: string): string {
    let last = "";
    for (const run of this.containers.get(key)?.runs.values() ?? []) {
      const updated = run.closure?.updated_at ?? "";
      if (updated > last) last = updated;
    }
    return last;
  }

  /** Return the children of a row, or of the root. */
  children(parent: RunNode | undefined): readonly RunNode[] {
    const key = parent?.key ?? ROOT;
    const scope = parent?.spec?.inner();
    const container = this.containers.get(key) ?? (scope ? this.container(key) : undefined);
    if (!container) return [];
    if (container.children && container.madeFor === parent) return container.children;
    container.scope ??= scope;
    container.children = this.makeChildren(container, parent);
    container.madeFor = parent;
    return container.children;
  }

  /** Return the row of a key among the loaded ones. */
  find(key: string): RunNode | undefined {
    for (const node of this.walk()) if (node.key === key) return node;
    return undefined;
  }

  /** Yield all loaded rows, parents before children. */
  *walk(parent?: RunNode): Generator<RunNode> {
    for (const node of this.children(parent)) {
      yield node;
      if (node.isContainer) yield* this.walk(node);
    }
  }

  private container(key: string): Container {
    let container = this.containers.get(key);
    if (!container) {
      container = {
        runs: new Map(),
        scope: undefined,
        executions: [],
        loaded: false,
        execution: undefined,
        children: undefined,
        madeFor: undefined,
      };
      this.containers.set(key, container);
    }
    return container;
  }

  private changed(container: Container): void {
    container.children = undefined;
    this.version++;
  }

  private makeChildren(container: Container, parent: RunNode | undefined): RunNode[] {
    const bySpec = new Map<string, NodeExecution[]>();
    for (const run of container.runs.values()) {
      const id = specId(run);
      if (id === START_NODE || id === END_NODE) continue;
      const same = bySpec.get(id);
      if (same) same.push(run);
      else bySpec.set(id, [run]);
    }
    const children: RunNode[] = container.executions.map((child) => executionRow(child, parent));
    for (const spec of container.scope?.nodes ?? []) {
      if (spec.kind === "end") continue;
      const runs = bySpec.get(spec.id);
      bySpec.delete(spec.id);
      if (runs) for (const run of runs) children.push(this.row(container, parent, run, spec));
      else if (!spec.isFailureNode) children.push(this.row(container, parent, undefined, spec));
    }
    // Nodes that no known workflow lists, such as those of a dynamic node before its workflow was read.
    const others = [...bySpec.values()].flat();
    others.sort(
      (a, b) => compareText(a.closure?.created_at, b.closure?.created_at) || compareText(a.id?.node_id, b.id?.node_id),
    );
    for (const run of others) children.push(this.row(container, parent, run, undefined));
    return children;
  }

  private row(
    container: Container,
    parent: RunNode | undefined,
    run: NodeExecution | undefined,
    spec: SpecNode | undefined,
  ): RunNode {
    const execution = container.execution ?? parent?.execution ?? this.execution;
    const id = run?.id?.node_id ?? `${parent?.id ?? ""}/${spec?.id ?? ""}`;
    const phase = run ? runPhase(run, spec) : this.phaseWithoutRun(parent);
    const createdMs = timeMs(run?.closure?.created_at);
    const startedMs = timeMs(run?.closure?.started_at);
    const kind = kindOf(run, spec);
    return {
      key: nodeKey(container, parent, id),
      id,
      specId: spec?.id ?? specId(run),
      execution,
      parent,
      depth: parent ? parent.depth + 1 : 0,
      name: spec?.name ?? mapName(specId(run)),
      kind,
      target: spec?.target,
      phase,
      run,
      spec,
      isContainer: isContainer(run, spec, kind),
      createdMs,
      startedMs,
      endedMs: endOf(run, phase, startedMs),
    };
  }

  private phaseWithoutRun(parent: RunNode | undefined): Phase {
    if (parent && isTerminal(parent.phase))
      return parent.kind === "branch" || parent.phase === "SKIPPED" ? "SKIPPED" : "NOT_STARTED";
    return "NOT_STARTED";
  }
}

/** Return the key of a node: path segments for each execution that is opened in place, the unique id last. */
function nodeKey(container: Container, parent: RunNode | undefined, id: string): string {
  const segment = encodeURIComponent(id);
  if (!parent) return segment;
  if (container.execution) return `${parent.key}/${encodeURIComponent(container.execution.name)}/${segment}`;
  if (parent.kind === "execution") return `${parent.key}/${segment}`;
  const cut = parent.key.lastIndexOf("/");
  return cut < 0 ? segment : `${parent.key.slice(0, cut)}/${segment}`;
}

function executionRow(child: ChildExecution, parent: RunNode | undefined): RunNode {
  return {
    key: `${parent?.key ?? ""}/${encodeURIComponent(child.execution.name)}`,
    id: "",
    specId: "",
    execution: child.execution,
    parent,
    depth: parent ? parent.depth + 1 : 0,
    name: child.execution.name,
    kind: "execution",
    target: child.target,
    phase: child.phase,
    run: undefined,
    spec: undefined,
    isContainer: true,
    createdMs: child.createdMs,
    startedMs: child.startedMs,
    endedMs: child.endedMs,
  };
}

function specId(run: NodeExecution | undefined): string {
  return run?.metadata?.spec_node_id || (run?.id?.node_id ?? "");
}

function runPhase(run: NodeExecution, spec: SpecNode | undefined): Phase {
  const phase = asPhase(run.closure?.phase);
  // Upstream's gates are RUNNING while they wait for a person.
  return phase === "RUNNING" && spec?.kind === "gate" ? "PAUSED" : phase;
}

function kindOf(run: NodeExecution | undefined, spec: SpecNode | undefined): NodeKind {
  if (run?.metadata?.is_dynamic) return "dynamic";
  if (spec) return spec.kind;
  if (run?.metadata?.is_array) return "map";
  if (run?.closure?.workflow_node_metadata) return "launchPlan";
  if (run?.closure?.task_node_metadata) return "task";
  return run?.metadata?.is_parent_node ? "workflow" : "unknown";
}

function isContainer(run: NodeExecution | undefined, spec: SpecNode | undefined, kind: NodeKind): boolean {
  if (run?.metadata?.is_parent_node || run?.closure?.workflow_node_metadata?.executionId) return true;
  if (kind === "eager") return run !== undefined;
  return kind === "branch" || (kind === "workflow" && spec?.inner() !== undefined);
}

function endOf(run: NodeExecution | undefined, phase: Phase, startedMs: number | undefined): number | undefined {
  if (!run || !isTerminal(phase)) return undefined;
  const duration = durationMs(run.closure?.duration);
  if (startedMs !== undefined && duration !== undefined && duration >= 0) return startedMs + duration;
  return timeMs(run.closure?.updated_at);
}

function isNewer(run: NodeExecution, known: NodeExecution): boolean {
  const [before, after] = [known.closure?.updated_at ?? "", run.closure?.updated_at ?? ""];
  if (after !== before) return (timeMs(after) ?? 0) > (timeMs(before) ?? 0);
  return JSON.stringify(run) !== JSON.stringify(known);
}

function compareText(a: string | null | undefined, b: string | null | undefined): number {
  const [left, right] = [a ?? "", b ?? ""];
  return left < right ? -1 : left > right ? 1 : 0;
}
