/** Reads what a launch form needs: versions, launch plans, the inputs of an execution. */

import { api, type Schema } from "../../api/client.ts";
import type { Literal } from "../../api/literals.ts";
import {
  type Input,
  launchPlanInputs,
  type Options,
  optionsOfSpec,
  type Target,
  taskInputs,
} from "../../model/launch.ts";
import type { EntityKind, Place } from "../../routes.ts";
import type { PickerPage } from "../../ui/Picker.tsx";

const PAGE_SIZE = 25;
const NEWEST_FIRST = { "sort_by.key": "created_at", "sort_by.direction": "DESCENDING" } as const;

/** Values of filters end at these characters, and the server has no escape for them. */
const UNFILTERABLE = /[,()+]/;

function query(words: string, field: string, token: string, further: string[] = []) {
  const filters = [...further];
  if (words) filters.push(`contains(${field},${words})`);
  return { limit: PAGE_SIZE, token, filters: filters.join("+"), ...NEWEST_FIRST };
}

type Dated = { id?: Schema<"core.Identifier"> | null; closure?: { created_at?: string | null } | null };

function page(items: Dated[], token: string | undefined): PickerPage {
  return {
    items: items.map((item) => ({
      value: item.id?.version ?? "",
      note: (item.closure?.created_at ?? "").slice(0, 16).replace("T", " "),
    })),
    token: token ?? "",
  };
}

/** Read a page of the versions of an entity, the newest first. */
export async function readVersions(
  kind: EntityKind,
  place: Place,
  name: string,
  words: string,
  token: string,
  signal: AbortSignal,
): Promise<PickerPage> {
  const path = { ...place, name };
  const searched = UNFILTERABLE.test(words) ? "" : words;
  const args = { path, query: query(searched, "version", token) };
  if (kind === "task") {
    const reply = await api("ListTasksByName", args, { signal });
    return page(reply.tasks ?? [], reply.token);
  }
  if (kind === "launch_plan") {
    const reply = await api("ListLaunchPlansByName", args, { signal });
    return page(reply.launch_plans ?? [], reply.token);
  }
  const reply = await api("ListWorkflowsByName", args, { signal });
  return page(reply.workflows ?? [], reply.token);
}

const EXECUTION_FIELDS: Record<EntityKind, string> = {
  workflow: "workflow.name",
  task: "task.name",
  launch_plan: "launch_plan.name",
};

/** Read a page of the executions of an entity, the newest first. */
export async function readExecutions(
  kind: EntityKind,
  place: Place,
  name: string,
  words: string,
  token: string,
  signal: AbortSignal,
): Promise<PickerPage> {
  const filters = UNFILTERABLE.test(name) ? [] : [`eq(${EXECUTION_FIELDS[kind]},${name})`];
  const searched = UNFILTERABLE.test(words) ? "" : words;
  const args = { path: place, query: query(searched, "execution_name", token, filters) };
  const reply = await api("ListExecutions", args, { signal });
  const items = (reply.executions ?? []).map(({ id, closure }) => ({
    value: id?.name ?? "",
    note: `${(closure?.phase ?? "").toLowerCase()} ${(closure?.created_at ?? "").slice(0, 16).replace("T", " ")}`,
  }));
  return { items, token: reply.token ?? "" };
}

/** Read the launch plans of one version of a workflow. */
export async function readLaunchPlans(
  place: Place,
  workflow: string,
  version: string,
  signal: AbortSignal,
): Promise<Schema<"admin.LaunchPlan">[]> {
  const filters = [`eq(workflow.name,${workflow})`, `eq(workflow.version,${version})`].join("+");
  const reply = await api(
    "ListLaunchPlans",
    { path: place, query: { limit: 100, filters, ...NEWEST_FIRST } },
    { signal },
  );
  return reply.launch_plans ?? [];
}

/** Return the launch plan that a launch of a workflow uses: that of the same name, else the newest. */
export function defaultPlan(plans: Schema<"admin.LaunchPlan">[], workflow: string): string {
  return plans.find((plan) => plan.id?.name === workflow)?.id?.name ?? plans[0]?.id?.name ?? "";
}

export interface Loaded {
  target: Target;
  inputs: Input[];
  /** What the launch plan sets itself; shown as placeholders. */
  planOptions: Options;
}

function target(kind: Target["kind"], id: Schema<"core.Identifier"> | null | undefined): Target {
  const { project = "", domain = "", name = "", version = "" } = id ?? {};
  return { kind, project, domain, name, version };
}

export function loadedPlan(plan: Schema<"admin.LaunchPlan">): Loaded {
  const planOptions = optionsOfSpec({ ...plan.spec, tags: [] } as Schema<"admin.ExecutionSpec">);
  return { target: target("launch_plan", plan.id), inputs: launchPlanInputs(plan), planOptions };
}

export async function loadPlan(place: Place, name: string, version: string, signal: AbortSignal): Promise<Loaded> {
  return loadedPlan(await api("GetLaunchPlan", { path: { ...place, name, version } }, { signal }));
}

export async function loadTask(place: Place, name: string, version: string, signal: AbortSignal): Promise<Loaded> {
  const task = await api("GetTask", { path: { ...place, name, version } }, { signal });
  return { target: target("task", task.id), inputs: taskInputs(task), planOptions: optionsOfSpec({}) };
}

/** An execution that is launched again. */
export interface Earlier {
  name: string;
  launched: Target;
  /** The workflow's name and version, for the pickers. */
  workflow: { name: string; version: string };
  literals: Record<string, Literal>;
  options: Options;
  /** True where the inputs are too large for the server to send. */
  withheld: boolean;
}

export async function readEarlier(place: Place, name: string, signal: AbortSignal): Promise<Earlier> {
  const path = { ...place, name };
  const [execution, data] = await Promise.all([
    api("GetExecution", { path }, { signal }),
    api("GetExecutionData", { path }, { signal }),
  ]);
  const id = execution.spec?.launch_plan;
  const literals = data.full_inputs?.literals ?? {};
  const workflow = execution.closure?.workflow_id;
  return {
    name,
    launched: target(id?.resource_type === "TASK" ? "task" : "launch_plan", id),
    workflow: { name: workflow?.name ?? "", version: workflow?.version ?? "" },
    literals,
    options: relaunchOptions(execution.spec ?? {}),
    withheld: Object.keys(literals).length === 0 && Number(data.inputs?.bytes ?? 0) > 0,
  };
}

/** Keep what a user set. The server writes the merged parallelism and raw output into the stored spec. */
function relaunchOptions(spec: Schema<"admin.ExecutionSpec">): Options {
  return optionsOfSpec(spec);
}

/** Send the launch; return the name of the execution. */
export async function launch(request: Schema<"admin.ExecutionCreateRequest">): Promise<string> {
  const reply = await api("CreateExecution", { body: request });
  return reply.id?.name ?? "";
}
