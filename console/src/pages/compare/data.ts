/** The executions of a comparison: one list for all of them, then values and nodes of each. */
import { api, type CallOptions } from "../../api/client.ts";
import type { Execution } from "../../api/entities.ts";
import { jsonOfLiteral } from "../../api/literals.ts";
import type { NodeRun, Values } from "../../model/compare.ts";
import { durationMs } from "../../model/times.ts";
import type { Place } from "../../routes.ts";

/** Nodes of one execution that are compared. */
const NODES_READ = 1000;

/** Read several executions by one call, in the order of their names; one that does not exist is undefined. */
export async function readExecutions(
  place: Place,
  names: readonly string[],
  options: CallOptions,
): Promise<(Execution | undefined)[]> {
  const filters = `value_in(execution_name,${names.join(";")})`;
  const query = { limit: names.length, filters, "sort_by.key": "created_at" };
  const { executions = [] } = await api("ListExecutions", { path: place, query }, options);
  return names.map((name) => executions.find((one) => one.id?.name === name));
}

/** The inputs and outputs of an execution. */
export interface Io {
  readonly inputs: Values;
  readonly outputs: Values;
}

/** Read the inputs and outputs of an execution as JSON values. */
export async function readIo(place: Place, name: string, options: CallOptions): Promise<Io> {
  const reply = await api("GetExecutionData", { path: { ...place, name } }, options);
  return { inputs: valuesOf(reply.full_inputs, reply.inputs), outputs: valuesOf(reply.full_outputs, reply.outputs) };
}

type Literals = Parameters<typeof jsonOfLiteral>[0];

/** Return values, or undefined where they are too large for a reply: only their size is given then. */
function valuesOf(
  map: { literals?: Record<string, NonNullable<Literals>> } | null | undefined,
  blob: { bytes?: string } | null | undefined,
): Values {
  const literals = Object.entries(map?.literals ?? {});
  if (literals.length === 0 && Number(blob?.bytes ?? 0) > 0) return undefined;
  return Object.fromEntries(literals.map(([name, literal]) => [name, jsonOfLiteral(literal)]));
}

/** Read the top nodes of an execution, without those for its inputs and outputs. */
export async function readNodes(place: Place, name: string, options: CallOptions): Promise<NodeRun[]> {
  const query = { limit: NODES_READ, "sort_by.key": "created_at", "sort_by.direction": "ASCENDING" } as const;
  const { node_executions = [] } = await api("ListNodeExecutions", { path: { ...place, name }, query }, options);
  return node_executions.map((node): NodeRun => {
    const { closure } = node;
    const ms = durationMs(closure?.duration);
    return {
      id: node.id?.node_id ?? "",
      phase: closure?.phase ?? "",
      seconds: ms === undefined ? undefined : ms / 1000,
      cached: closure?.task_node_metadata?.cache_status === "CACHE_HIT",
      error: closure?.error?.message ?? "",
    };
  });
}
