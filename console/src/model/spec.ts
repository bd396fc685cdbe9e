// The static structure of a workflow: scopes of nodes, read from a compiled workflow closure. No DOM.

import type {
  CompiledWorkflow,
  CompiledWorkflowClosure,
  Identifier,
  Node,
  TaskTemplate,
  WorkflowTemplate,
} from "./api.ts";
import { armsOf } from "./branches.ts";

/** What a node is. `end` covers the nodes for the inputs and the outputs of a workflow. */
export type NodeKind =
  | "task"
  | "dynamic"
  | "eager"
  | "map"
  | "workflow"
  | "launchPlan"
  | "branch"
  | "gate"
  | "sleep"
  | "end"
  | "unknown";

export const START_NODE = "start-node";
export const END_NODE = "end-node";

/** A node of a template. */
export interface SpecNode {
  /** The id inside its scope: the `spec_node_id` of its node executions. */
  readonly id: string;
  readonly name: string;
  readonly kind: NodeKind;
  /** The task, workflow or launch plan that the node runs; of a map, that of its elements. */
  readonly target: Identifier | undefined;
  readonly upstream: readonly string[];
  readonly isFailureNode: boolean;
  readonly node: Node;
  /** The template of the task that the node runs. */
  readonly task: TaskTemplate | undefined;
  /** The scope of a sub-workflow's or a branch's nodes. */
  inner(): Scope | undefined;
}

/** Sibling nodes: those of a workflow, of a sub-workflow, or the arms of a branch, in topological order. */
export interface Scope {
  readonly nodes: readonly SpecNode[];
  readonly byId: ReadonlyMap<string, SpecNode>;
  readonly closure: ClosureIndex;
}

/** Return the key of an identifier for maps. */
export function idKey(id: Identifier | null | undefined): string {
  return JSON.stringify([id?.project ?? "", id?.domain ?? "", id?.name ?? "", id?.version ?? ""]);
}

/** Tasks and workflows of a closure, by their identifiers. */
export class ClosureIndex {
  private readonly workflows = new Map<string, CompiledWorkflow>();
  private readonly tasks = new Map<string, TaskTemplate>();
  readonly root: Scope;

  constructor(readonly closure: CompiledWorkflowClosure) {
    for (const workflow of closure.sub_workflows ?? []) this.workflows.set(idKey(workflow.template?.id), workflow);
    for (const task of closure.tasks ?? []) {
      if (task.template) this.tasks.set(idKey(task.template.id), task.template);
    }
    this.root = this.scopeOfWorkflow(closure.primary ?? {});
  }

  /** Return a task's template; undefined where the closure lacks it. */
  task(id: Identifier | null | undefined): TaskTemplate | undefined {
    return this.tasks.get(idKey(id));
  }

  private scopeOfWorkflow(workflow: CompiledWorkflow): Scope {
    const template: WorkflowTemplate = workflow.template ?? {};
    const upstream = workflow.connections?.upstream ?? {};
    const nodes = (template.nodes ?? []).map((node) => this.specNode(node, upstream[node.id ?? ""]?.ids, false));
    if (template.failure_node) nodes.push(this.specNode(template.failure_node, [], true));
    return scope(nodes, this);
  }

  private scopeOfBranch(node: Node): Scope {
    const nodes = armsOf(node).flatMap((arm) => (arm.node ? [this.specNode(arm.node, [], false)] : []));
    return scope(nodes, this);
  }

  private specNode(node: Node, upstream: readonly string[] | undefined, isFailureNode: boolean): SpecNode {
    const id = node.id ?? "";
    const target = targetOf(node);
    const kind = this.kindOf(node, target);
    let inner: Scope | undefined;
    return {
      id,
      kind,
      target,
      isFailureNode,
      node,
      task: this.task(target),
      name: nameOf(node, target),
      upstream: upstream ?? node.upstream_node_ids ?? [],
      inner: () => {
        if (inner === undefined) inner = this.innerScope(node, kind);
        return inner;
      },
    };
  }

  private innerScope(node: Node, kind: NodeKind): Scope | undefined {
    if (kind === "branch") return this.scopeOfBranch(node);
    const workflow = kind === "workflow" && this.workflows.get(idKey(node.workflow_node?.sub_workflow_ref));
    return workflow ? this.scopeOfWorkflow(workflow) : undefined;
  }

  private kindOf(node: Node, target: Identifier | undefined): NodeKind {
    if (node.id === START_NODE || node.id === END_NODE) return "end";
    if (node.array_node) return "map";
    if (node.branch_node) return "branch";
    if (node.gate_node) return node.gate_node.sleep ? "sleep" : "gate";
    if (node.workflow_node) return node.workflow_node.launchplan_ref ? "launchPlan" : "workflow";
    if (node.task_node) return this.task(target)?.metadata?.is_eager ? "eager" : "task";
    return "unknown";
  }
}

function targetOf(node: Node): Identifier | undefined {
  if (node.array_node?.node) return targetOf(node.array_node.node);
  return (
    node.task_node?.reference_id ??
    node.workflow_node?.launchplan_ref ??
    node.workflow_node?.sub_workflow_ref ??
    undefined
  );
}

function nameOf(node: Node, target: Identifier | undefined): string {
  const given = node.metadata?.name ?? "";
  if (node.array_node) return mapName(given || (target?.name ?? ""));
  return given || (node.id ?? "");
}

/** Return `score` for `shop.map_score_1f2210850ffce76071ffac74a263152a-arraynode`, flytekit's name of a map of `score`. */
export function mapName(name: string): string {
  return /(?:^|\.)map_(.+)_[0-9a-f]{8,64}(?:-arraynode)?$/.exec(name)?.[1] ?? name;
}

function scope(nodes: readonly SpecNode[], closure: ClosureIndex): Scope {
  const ordered = inTopologicalOrder(nodes);
  return { nodes: ordered, byId: new Map(ordered.map((node) => [node.id, node])), closure };
}

/** Return nodes so that each follows its upstream nodes, and otherwise in the given order. Nodes of a cycle come last. */
export function inTopologicalOrder<T extends { readonly id: string; readonly upstream: readonly string[] }>(
  nodes: readonly T[],
): T[] {
  const position = new Map(nodes.map((node, index) => [node.id, index]));
  const missing = nodes.map((node) => new Set(node.upstream.filter((id) => id !== node.id && position.has(id))).size);
  const followers: number[][] = nodes.map(() => []);
  nodes.forEach((node, index) => {
    for (const id of new Set(node.upstream)) {
      const upstream = position.get(id);
      if (upstream !== undefined && upstream !== index) followers[upstream]?.push(index);
    }
  });
  const ready = new Heap();
  missing.forEach((count, index) => {
    if (count === 0) ready.push(index);
  });
  const ordered: T[] = [];
  const placed = new Set<number>();
  for (let index = ready.pop(); index !== undefined; index = ready.pop()) {
    ordered.push(nodes[index] as T);
    placed.add(index);
    for (const follower of followers[index] ?? []) {
      missing[follower] = (missing[follower] ?? 0) - 1;
      if (missing[follower] === 0) ready.push(follower);
    }
  }
  if (ordered.length < nodes.length) ordered.push(...nodes.filter((_, index) => !placed.has(index)));
  return ordered;
}

/** Binary heap of numbers, the least first. */
class Heap {
  private readonly items: number[] = [];

  push(item: number): void {
    const items = this.items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if ((items[above] as number) <= item) break;
      items[at] = items[above] as number;
      at = above;
    }
    items[at] = item;
  }

  pop(): number | undefined {
    const items = this.items;
    const least = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return least;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= items.length) break;
      if (below + 1 < items.length && (items[below + 1] as number) < (items[below] as number)) below++;
      if ((items[below] as number) >= last) break;
      items[at] = items[below] as number;
      at = below;
    }
    items[at] = last;
    return least;
  }
}
