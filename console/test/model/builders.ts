// Short forms of API messages for tests.

import type { CompiledWorkflowClosure, Node, NodeExecution } from "../../src/model/api.ts";

const START = Date.parse("2026-01-01T00:00:00Z");

/** The time of a second of the tests' day. */
export function at(second: number): string {
  return new Date(START + second * 1000).toISOString();
}

export function atMs(second: number): number {
  return START + second * 1000;
}

export interface RunOptions {
  readonly spec?: string;
  readonly created?: number;
  readonly started?: number;
  readonly seconds?: number;
  readonly updated?: number;
  readonly parent?: boolean;
  readonly dynamic?: boolean;
  readonly array?: boolean;
  readonly error?: string;
  readonly child?: string;
}

type RunPhase = NonNullable<NonNullable<NodeExecution["closure"]>["phase"]>;

/** A node execution. Times are seconds of the tests' day. */
export function run(id: string, phase: RunPhase, options: RunOptions = {}): NodeExecution {
  const created = options.created ?? 0;
  return {
    id: { node_id: id, execution_id: { project: "p", domain: "d", name: "e" } },
    closure: {
      phase,
      created_at: at(created),
      started_at: options.started === undefined ? null : at(options.started),
      duration: options.seconds === undefined ? null : `${options.seconds}s`,
      updated_at: at(options.updated ?? (options.started ?? created) + (options.seconds ?? 0)),
      ...(options.error === undefined ? {} : { error: { code: "E", message: options.error } }),
      ...(options.child === undefined
        ? {}
        : { workflow_node_metadata: { executionId: { project: "p", domain: "d", name: options.child } } }),
    },
    metadata: {
      spec_node_id: options.spec ?? id,
      is_parent_node: options.parent ?? false,
      is_dynamic: options.dynamic ?? false,
      is_array: options.array ?? false,
    },
  };
}

const named = (name: string) => ({ project: "p", domain: "d", name, version: "v" });

export function taskNode(id: string, task: string): Node {
  return { id, metadata: { name: task }, task_node: { reference_id: named(task) } };
}

export function workflowNode(id: string, workflow: string): Node {
  return { id, metadata: { name: workflow }, workflow_node: { sub_workflow_ref: named(workflow) } };
}

/** A branch on `x > 10`, then `x > 5`, else. */
export function branchNode(id: string, first: Node, second: Node, otherwise?: Node): Node {
  const over = (limit: string) => ({
    comparison: { operator: "GT" as const, left_value: { var: "x" }, right_value: { primitive: { integer: limit } } },
  });
  return {
    id,
    metadata: { name: id },
    branch_node: {
      if_else: {
        case: { condition: over("10"), then_node: first },
        other: [{ condition: over("5"), then_node: second }],
        ...(otherwise ? { else_node: otherwise } : { error: { message: "too small" } }),
      },
    },
  };
}

type Edges = readonly (readonly [string, string])[];

/** A closure; workflows: sub-workflows by name. */
export function closure(
  nodes: readonly Node[],
  edges: Edges = [],
  workflows: Record<string, readonly Node[]> = {},
  eager: readonly string[] = [],
): CompiledWorkflowClosure {
  const upstream: Record<string, { ids: string[] }> = {};
  for (const [from, to] of edges) {
    const entry = upstream[to] ?? { ids: [] };
    entry.ids.push(from);
    upstream[to] = entry;
  }
  return {
    primary: { template: { id: named("main"), nodes: [...nodes] }, connections: { upstream } },
    sub_workflows: Object.entries(workflows).map(([name, inside]) => ({
      template: { id: named(name), nodes: [...inside] },
      connections: { upstream: {} },
    })),
    tasks: eager.map((name) => ({ template: { id: named(name), metadata: { is_eager: true } } })),
  };
}
