/** Names, versions and last executions of workflows, tasks and launch plans. Every function makes one call. */
import { filterFor } from "../model/find.ts";
import { type Kind, RUNS_READ, ranEntity } from "../model/lastRuns.ts";
import type { EntityKind, Place } from "../routes.ts";
import { api, type CallOptions, type Schema } from "./client.ts";

export type Execution = Schema<"admin.Execution">;
export type LaunchPlan = Schema<"admin.LaunchPlan">;
export type NamedEntity = Schema<"admin.NamedEntity">;
export type Task = Schema<"admin.Task">;
export type Workflow = Schema<"admin.Workflow">;
export type Description = Schema<"admin.DescriptionEntity">;

/** A page of a list. */
export interface Listed<T> {
  readonly items: readonly T[];
  /** Token of the next page, "" after the last one. */
  readonly token: string;
}

/** Names that one call reads, as many as upstream's console asks for. */
const NAMES_READ = 10_000;

/** Versions that a list of entities reads to find the newest of each name. */
export const VERSIONS_READ = 500;

/** Executions that a poll reads, to be merged into those read before. */
const RUNS_POLLED = 50;

const NEWEST = { "sort_by.key": "created_at", "sort_by.direction": "DESCENDING" } as const;

const RESOURCE: Readonly<Record<EntityKind, Kind>> = {
  workflow: "WORKFLOW",
  task: "TASK",
  launch_plan: "LAUNCH_PLAN",
};

/** Return the resource type of a kind. */
export function resourceType(kind: EntityKind): Kind {
  return RESOURCE[kind];
}

/** Return the names of a place with their descriptions and states, sorted by name. */
export async function listNames(kind: EntityKind, place: Place, options: CallOptions): Promise<NamedEntity[]> {
  const reply = await api(
    "ListNamedEntities",
    {
      path: { ...place, resource_type: RESOURCE[kind] },
      query: { limit: NAMES_READ, "sort_by.key": "name", "sort_by.direction": "ASCENDING" },
    },
    options,
  );
  return reply.entities ?? [];
}

/** Archive a name or take it out of the archive. */
export async function setArchived(kind: EntityKind, place: Place, name: string, archived: boolean): Promise<void> {
  const state = archived ? "NAMED_ENTITY_ARCHIVED" : "NAMED_ENTITY_ACTIVE";
  await api("UpdateNamedEntity", {
    path: { ...place, resource_type: RESOURCE[kind], name },
    body: { resource_type: RESOURCE[kind], id: { ...place, name }, metadata: { state } },
  });
}

/**
 * Return the newest executions of a place, the newest first.
 *
 * @param before Executions of the last read: only the newest are read then, and merged into them.
 */
export async function newestRuns(
  place: Place,
  options: CallOptions,
  before?: readonly Execution[],
): Promise<Execution[]> {
  const query = { ...NEWEST, limit: before ? RUNS_POLLED : RUNS_READ };
  const { executions = [] } = await api("ListExecutions", { path: place, query }, options);
  if (!before) return executions;
  const read = new Set(executions.map((one) => one.id?.name));
  return [...executions, ...before.filter((one) => !read.has(one.id?.name))].slice(0, RUNS_READ);
}

/** Executions that a page reads to show the last ones of each version. */
const RUNS_OF_ENTITY = 200;

/** Return the newest executions of one workflow, task or launch plan. */
export async function runsOf(
  kind: EntityKind,
  place: Place,
  name: string,
  options: CallOptions,
  limit = RUNS_OF_ENTITY,
): Promise<Execution[]> {
  const asked = filterFor(`${kind}.name`, name);
  const query = { ...NEWEST, limit, ...(asked ? { filters: asked.filter } : {}) };
  const { executions = [] } = await api("ListExecutions", { path: place, query }, options);
  return executions.filter((one) => ranEntity(one, RESOURCE[kind]) === name);
}

/** Versions of a kind. */
export interface Versions {
  workflow: Workflow;
  task: Task;
  launch_plan: LaunchPlan;
}

/** What a list of versions is restricted to. */
export interface VersionQuery {
  name?: string | undefined;
  limit: number;
  token?: string | undefined;
  filters?: string | undefined;
}

/** Return versions of a place, or those of one name, the newest first. */
export async function listVersions<K extends EntityKind>(
  kind: K,
  place: Place,
  { name, limit, token, filters }: VersionQuery,
  options: CallOptions,
): Promise<Listed<Versions[K]>> {
  const query = { ...NEWEST, limit, ...(token ? { token } : {}), ...(filters ? { filters } : {}) };
  const found = await (name === undefined
    ? versionsOfPlace(kind, place, query, options)
    : versionsOfName(kind, { ...place, name }, query, options));
  return found as Listed<Versions[K]>;
}

type PageQuery = typeof NEWEST & { limit: number; token?: string; filters?: string };

async function versionsOfPlace(kind: EntityKind, path: Place, query: PageQuery, options: CallOptions) {
  if (kind === "workflow") {
    const { workflows = [], token = "" } = await api("ListWorkflows", { path, query }, options);
    return { items: workflows, token };
  }
  if (kind === "task") {
    const { tasks = [], token = "" } = await api("ListTasks", { path, query }, options);
    return { items: tasks, token };
  }
  const { launch_plans = [], token = "" } = await api("ListLaunchPlans", { path, query }, options);
  return { items: launch_plans, token };
}

async function versionsOfName(
  kind: EntityKind,
  path: Place & { name: string },
  query: PageQuery,
  options: CallOptions,
) {
  if (kind === "workflow") {
    const { workflows = [], token = "" } = await api("ListWorkflowsByName", { path, query }, options);
    return { items: workflows, token };
  }
  if (kind === "task") {
    const { tasks = [], token = "" } = await api("ListTasksByName", { path, query }, options);
    return { items: tasks, token };
  }
  const { launch_plans = [], token = "" } = await api("ListLaunchPlansByName", { path, query }, options);
  return { items: launch_plans, token };
}

/** Return one version with everything that was registered. */
export async function getVersion<K extends EntityKind>(
  kind: K,
  place: Place,
  name: string,
  version: string,
  options: CallOptions,
): Promise<Versions[K]> {
  const args = { path: { ...place, name, version } };
  const reads = {
    workflow: () => api("GetWorkflow", args, options),
    task: () => api("GetTask", args, options),
    launch_plan: () => api("GetLaunchPlan", args, options),
  };
  return (await reads[kind]()) as Versions[K];
}

/** Active launch plans that one call reads. */
const ACTIVE_READ = 10_000;

/** Return the active version of each launch plan of a place. */
export async function listActivePlans(place: Place, options: CallOptions): Promise<LaunchPlan[]> {
  const { launch_plans = [] } = await api(
    "ListActiveLaunchPlans",
    { path: place, query: { limit: ACTIVE_READ } },
    options,
  );
  return launch_plans;
}

/** Launch plans of a workflow that its page reads. */
const PLANS_OF_WORKFLOW = 100;

/** Return the newest versions of the launch plans of a workflow; the caller groups them by name. */
export async function plansOfWorkflow(place: Place, workflow: string, options: CallOptions): Promise<LaunchPlan[]> {
  const asked = filterFor("workflow.name", workflow);
  const query = { limit: PLANS_OF_WORKFLOW, ...(asked ? { filters: asked.filter } : {}) };
  const { items } = await listVersions("launch_plan", place, query, options);
  return items.filter((one) => one.spec?.workflow_id?.name === workflow);
}

/** Return the active version of a launch plan. A list is read, since the single call answers 404 where none is. */
export async function activePlan(place: Place, name: string, options: CallOptions): Promise<LaunchPlan | null> {
  const query = { name, limit: 1, filters: `eq(state,${STATE_ACTIVE})` };
  return (await listVersions("launch_plan", place, query, options)).items[0] ?? null;
}

/** The number of LaunchPlanState.ACTIVE; filters compare states by number. */
const STATE_ACTIVE = 1;

/** Activate or deactivate a version of a launch plan. Activation deactivates the version that was active. */
export async function setActive(place: Place, name: string, version: string, active: boolean): Promise<void> {
  const state = active ? "ACTIVE" : "INACTIVE";
  await api("UpdateLaunchPlan", {
    path: { ...place, name, version },
    body: { id: { resource_type: "LAUNCH_PLAN", ...place, name, version }, state },
  });
}

/** Return the newest description of a name, or that of one version; null where there is none. */
export async function describe(
  kind: EntityKind,
  place: Place,
  name: string,
  version: string | undefined,
  options: CallOptions,
): Promise<Description | null> {
  const asked = version === undefined ? undefined : filterFor("version", version);
  const path = { ...place, resource_type: RESOURCE[kind], name };
  const query = { ...NEWEST, limit: asked?.exact === false ? 100 : 1, ...(asked ? { filters: asked.filter } : {}) };
  const reply = (await api("ListDescriptionEntitiesByName", { path, query }, options)) as DescriptionReply;
  const found = reply.description_entities ?? reply.descriptionEntities ?? [];
  return found.find((one) => version === undefined || one.id?.version === version) ?? null;
}

// The list of descriptions has its field in lowerCamelCase in both encodings (a slip in upstream's proto file).
interface DescriptionReply {
  description_entities?: Description[];
  descriptionEntities?: Description[];
}
