/** Matchable attributes: overrides of settings for a project, a domain of it, or one workflow. */

import type { components } from "../api/types.d.ts";
import type { Pair } from "./launch.ts";

type Schemas = components["schemas"];
export type ResourceType = Schemas["admin.MatchableResource"];
export type MatchingAttributes = Schemas["admin.MatchingAttributes"];
export type Configuration = Schemas["admin.MatchableAttributesConfiguration"];

export type FieldKind =
  | "text"
  | "count"
  | "csv"
  | "pairs"
  | "envs"
  | "choice"
  | "three"
  | "check"
  | "duration"
  | "plugins";

export interface AttributeField {
  path: string[];
  label: string;
  kind: FieldKind;
  hint?: string;
  choices?: string[];
}

export interface AttributeKind {
  type: ResourceType;
  /** The member of MatchingAttributes. */
  member: keyof MatchingAttributes;
  label: string;
  help: string;
  fields: AttributeField[];
  /** The server, as upstream's, refuses to store it. */
  readOnly?: boolean;
}

const resources = (part: "defaults" | "limits", label: string): AttributeField[] =>
  (["cpu", "memory", "gpu", "ephemeral_storage", "storage"] as const).map((name) => ({
    path: [part, name],
    label: `${label}: ${name.replace("_", " ")}`,
    kind: "text",
    hint: name === "cpu" ? "500m" : name === "gpu" ? "1" : "2Gi",
  }));

export const ATTRIBUTE_KINDS: readonly AttributeKind[] = [
  {
    type: "WORKFLOW_EXECUTION_CONFIG",
    member: "workflow_execution_config",
    label: "Execution config",
    help: "Defaults of executions, where neither the launch nor the launch plan sets them.",
    fields: [
      { path: ["max_parallelism"], label: "Max parallelism", kind: "count", hint: "25" },
      {
        path: ["security_context", "run_as", "k8s_service_account"],
        label: "Kubernetes service account",
        kind: "text",
      },
      { path: ["security_context", "run_as", "iam_role"], label: "IAM role", kind: "text" },
      {
        path: ["raw_output_data_config", "output_location_prefix"],
        label: "Raw output location",
        kind: "text",
        hint: "s3://bucket/prefix",
      },
      { path: ["interruptible"], label: "Interruptible", kind: "three" },
      { path: ["overwrite_cache"], label: "Overwrite cache", kind: "check" },
      { path: ["labels", "values"], label: "Labels", kind: "pairs" },
      { path: ["annotations", "values"], label: "Annotations", kind: "pairs" },
      { path: ["envs", "values"], label: "Environment variables", kind: "envs" },
    ],
  },
  {
    type: "TASK_RESOURCE",
    member: "task_resource_attributes",
    label: "Task resources",
    help: "Requests of tasks that set none, and limits of all tasks.",
    fields: [...resources("defaults", "Default"), ...resources("limits", "Limit")],
  },
  {
    type: "CLUSTER_RESOURCE",
    member: "cluster_resource_attributes",
    label: "Cluster resources",
    help: "Values for the templates of Kubernetes resources, such as quotas.",
    fields: [{ path: ["attributes"], label: "Attributes", kind: "pairs" }],
  },
  {
    type: "EXECUTION_QUEUE",
    member: "execution_queue_attributes",
    label: "Execution queue",
    help: "Tags by which a queue is chosen.",
    fields: [{ path: ["tags"], label: "Tags", kind: "csv", hint: "gpu, critical" }],
  },
  {
    type: "EXECUTION_CLUSTER_LABEL",
    member: "execution_cluster_label",
    label: "Cluster label",
    help: "The label of the clusters on which executions run.",
    fields: [{ path: ["value"], label: "Label", kind: "text" }],
  },
  {
    type: "QUALITY_OF_SERVICE_SPECIFICATION",
    member: "quality_of_service",
    label: "Quality of service",
    help: "A tier, or the time that an execution may wait for resources. Servers show it, but store none: the launch plan or the configuration sets it.",
    readOnly: true,
    fields: [
      { path: ["tier"], label: "Tier", kind: "choice", choices: ["UNDEFINED", "HIGH", "MEDIUM", "LOW"] },
      { path: ["spec", "queueing_budget"], label: "Queueing budget", kind: "duration", hint: "10m" },
    ],
  },
  {
    type: "PLUGIN_OVERRIDE",
    member: "plugin_overrides",
    label: "Plugin overrides",
    help: "Plugins that run a task type, the first that is there.",
    fields: [{ path: ["overrides"], label: "Overrides", kind: "plugins" }],
  },
  {
    type: "CLUSTER_ASSIGNMENT",
    member: "cluster_assignment",
    label: "Cluster assignment",
    help: "The pool of clusters on which executions run.",
    fields: [{ path: ["cluster_pool_name"], label: "Cluster pool", kind: "text" }],
  },
];

type Value = Record<string, unknown>;

const isValue = (value: unknown): value is Value =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Return the value at a path; undefined where a part is missing or null. */
export function getAt(value: unknown, path: readonly string[]): unknown {
  const found = path.reduce<unknown>((at, key) => (isValue(at) ? at[key] : undefined), value);
  return found === null ? undefined : found;
}

/** Return a copy with the value at the path set, or removed where it is undefined; empty parents are removed, too. */
export function setAt(value: unknown, path: readonly string[], next: unknown): Value {
  const copy: Value = isValue(value) ? { ...value } : {};
  const [key = "", ...rest] = path;
  const member = rest.length > 0 ? setAt(copy[key], rest, next) : next;
  const empty = member === undefined || (rest.length > 0 && isValue(member) && Object.keys(member).length === 0);
  if (empty) delete copy[key];
  else copy[key] = member;
  return copy;
}

export const pairsOf = (value: unknown): Pair[] =>
  isValue(value) ? Object.entries(value).map(([key, text]) => ({ key, value: String(text) })) : [];

export const mapOf = (pairs: readonly Pair[]): Record<string, string> | undefined => {
  const kept = pairs.filter((pair) => pair.key.trim() !== "");
  return kept.length > 0 ? Object.fromEntries(kept.map((pair) => [pair.key.trim(), pair.value])) : undefined;
};

/** What a configuration holds for: `project` alone, `domain`, or one `workflow`. */
export type Level = "project" | "domain" | "workflow";

export function levelOf(configuration: Configuration): Level {
  if (configuration.workflow) return "workflow";
  return configuration.domain ? "domain" : "project";
}

/** Return the configurations of a project and, for those of a domain or workflow, of the domain; wide ones first. */
export function configurationsOf(all: readonly Configuration[], project: string, domain: string): Configuration[] {
  const rank = { project: 0, domain: 1, workflow: 2 };
  return all
    .filter((one) => one.project === project && (!one.domain || one.domain === domain) && !one.launch_plan)
    .sort((a, b) => rank[levelOf(a)] - rank[levelOf(b)] || (a.workflow ?? "").localeCompare(b.workflow ?? ""));
}

/** Return rows of label and text of what is set. */
export function factsOf(
  kind: AttributeKind,
  attributes: MatchingAttributes | null | undefined,
): Array<[string, string]> {
  const value = attributes?.[kind.member];
  return kind.fields.flatMap((field): Array<[string, string]> => {
    const found = getAt(value, field.path);
    const text = factText(field, found);
    return text === "" ? [] : [[field.label, text]];
  });
}

function factText(field: AttributeField, value: unknown): string {
  if (value === undefined || value === "" || value === 0 || value === false || value === "UNDEFINED") return "";
  switch (field.kind) {
    case "csv":
      return (value as string[]).join(", ");
    case "pairs":
      return pairsOf(value)
        .map(({ key, value: text }) => `${key}=${text}`)
        .join(", ");
    case "envs":
      return (value as Pair[]).map(({ key, value: text }) => `${key}=${text}`).join(", ");
    case "plugins":
      return (value as Schemas["admin.PluginOverride"][])
        .map((one) => `${one.task_type}: ${(one.plugin_id ?? []).join(", ")}`)
        .join("; ");
    default:
      return String(value);
  }
}
