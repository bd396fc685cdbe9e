/** What a search reads: executions by name, and versions of workflows and tasks. Names are those of the lists. */
import { api, type CallOptions } from "../../api/client.ts";
import { type Execution, listVersions, type Task, type Workflow } from "../../api/entities.ts";
import { containing } from "../../model/find.ts";
import type { Place } from "../../routes.ts";

/** Rows of each kind. */
export const FOUND_MAX = 50;

export interface Found {
  readonly executions: readonly Execution[];
  readonly workflows: readonly Workflow[];
  readonly tasks: readonly Task[];
}

/** Find executions whose name, and versions whose version, contains a text: three calls. */
export async function search(place: Place, text: string, options: CallOptions): Promise<Found> {
  const version = containing("version", text);
  const [executions, workflows, tasks] = await Promise.all([
    executionsNamed(place, text.toLowerCase(), options),
    version ? versionsOf("workflow", place, text, version, options) : [],
    version ? versionsOf("task", place, text, version, options) : [],
  ]);
  return { executions, workflows: workflows as Workflow[], tasks: tasks as Task[] };
}

async function executionsNamed(place: Place, text: string, options: CallOptions): Promise<Execution[]> {
  const filters = /^[a-z0-9-]+$/.test(text) ? containing("execution_name", text) : undefined;
  if (!filters) return [];
  const query = { limit: FOUND_MAX, filters, "sort_by.key": "created_at" };
  return (await api("ListExecutions", { path: place, query }, options)).executions ?? [];
}

async function versionsOf(
  kind: "workflow" | "task",
  place: Place,
  text: string,
  filters: string,
  options: CallOptions,
): Promise<(Workflow | Task)[]> {
  const { items } = await listVersions(kind, place, { limit: FOUND_MAX, filters }, options);
  return items.filter((one) => one.id?.version?.includes(text));
}
