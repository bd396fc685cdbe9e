/** The state of a launch form: its inputs, options, and the request that it makes. */

import { type Draft, draftOfLiteral, initialDraft, literalOfDraft, sameDraft } from "../api/drafts.ts";
import type { Zone } from "../api/instants.ts";
import { type Literal, type Problem, Report } from "../api/literals.ts";
import { type LiteralType, type Shape, shapeOf } from "../api/shapes.ts";
import type { components } from "../api/types.d.ts";

type Schemas = components["schemas"];
export type CreateRequest = Schemas["admin.ExecutionCreateRequest"];
export type Spec = Schemas["admin.ExecutionSpec"];

/** The thing that is launched. */
export interface Target {
  kind: "launch_plan" | "task";
  project: string;
  domain: string;
  name: string;
  version: string;
}

/** One input of a launch plan or task. */
export interface Input {
  name: string;
  shape: Shape;
  description: string;
  required: boolean;
  fallback: Literal | null;
  /** Set where the launch plan fixes the value. */
  fixed: Literal | null;
}

export interface Pair {
  key: string;
  value: string;
}

/** Advanced options, as text of their controls. */
export interface Options {
  labels: Pair[];
  annotations: Pair[];
  envs: Pair[];
  tags: string[];
  serviceAccount: string;
  iamRole: string;
  rawOutput: string;
  maxParallelism: string;
  interruptible: "" | "true" | "false";
  overwriteCache: boolean;
  disableNotifications: boolean;
}

/** All that a user can change in the form; plain JSON, so that it survives a login in sessionStorage. */
export interface Form {
  name: string;
  drafts: Record<string, Draft>;
  options: Options;
}

export const NO_OPTIONS: Options = {
  labels: [],
  annotations: [],
  envs: [],
  tags: [],
  serviceAccount: "",
  iamRole: "",
  rawOutput: "",
  maxParallelism: "",
  interruptible: "",
  overwriteCache: false,
  disableNotifications: false,
};

/** Return the inputs of a launch plan: required ones first, fixed ones last, each group by name. */
export function launchPlanInputs(plan: Schemas["admin.LaunchPlan"]): Input[] {
  const fixed = plan.spec?.fixed_inputs?.literals ?? {};
  const inputs: Input[] = Object.entries(plan.closure?.expected_inputs?.parameters ?? {})
    .filter(([name]) => !(name in fixed))
    .map(([name, parameter]) => ({
      ...named(name, parameter.var ?? {}),
      required: parameter.required === true,
      fallback: parameter.default ?? null,
      fixed: null,
    }));
  for (const [name, literal] of Object.entries(fixed)) {
    inputs.push({ ...named(name, {}), required: false, fallback: null, fixed: literal });
  }
  return sortedInputs(inputs);
}

/** Return the inputs of a task, all of which are required. */
export function taskInputs(task: Schemas["admin.Task"]): Input[] {
  const variables = task.closure?.compiled_task?.template?.interface?.inputs?.variables ?? {};
  return sortedInputs(
    Object.entries(variables).map(([name, variable]) => ({
      ...named(name, variable),
      required: true,
      fallback: null,
      fixed: null,
    })),
  );
}

function named(name: string, variable: Schemas["core.Variable"]): Pick<Input, "name" | "shape" | "description"> {
  const description = variable.description ?? "";
  // flytekit repeats the name where a docstring has no line for it.
  return { name, shape: shapeOf(variable.type as LiteralType), description: description === name ? "" : description };
}

function sortedInputs(inputs: Input[]): Input[] {
  const rank = (input: Input): number => (input.fixed ? 2 : input.required ? 0 : 1);
  return inputs.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

/** Return the draft that an input starts with: the value given, else its default. */
export function startDraft(input: Input, given?: Literal): Draft {
  const literal = given ?? input.fallback;
  return literal ? draftOfLiteral(input.shape, literal) : initialDraft(input.shape);
}

/**
 * Return the form at its start.
 *
 * @param given - Inputs of an execution that is launched again; unknown names are left out.
 */
export function startForm(inputs: Input[], given: Record<string, Literal> = {}, options: Options = NO_OPTIONS): Form {
  const open = inputs.filter((input) => !input.fixed);
  const drafts = Object.fromEntries(open.map((input) => [input.name, startDraft(input, given[input.name])]));
  return { name: "", drafts, options };
}

/**
 * Take over the drafts of another version's form, where an input of that name has the same type.
 */
export function carriedForm(form: Form, before: Input[], inputs: Input[]): Form {
  const drafts: Record<string, Draft> = {};
  for (const input of inputs.filter((one) => !one.fixed)) {
    const old = before.find((one) => one.name === input.name);
    const draft = form.drafts[input.name];
    const same = old && JSON.stringify(old.shape) === JSON.stringify(input.shape);
    const touched = old && draft && !sameDraft(draft, startDraft(old));
    drafts[input.name] = same && touched ? draft : startDraft(input);
  }
  return { ...form, drafts };
}

/**
 * Return the literals to send. An unchanged default is left to the server; an unchanged value of an execution is sent
 * as it came, with its hash and encoding.
 */
export function inputLiterals(
  inputs: Input[],
  form: Form,
  given: Record<string, Literal>,
  report: Report,
): Record<string, Literal> {
  const literals: Record<string, Literal> = {};
  for (const input of inputs) {
    if (input.fixed) continue;
    const draft = form.drafts[input.name] ?? initialDraft(input.shape);
    const original = given[input.name];
    if (original && sameDraft(draft, startDraft(input, original))) literals[input.name] = original;
    else if (!original && input.fallback && sameDraft(draft, startDraft(input))) continue;
    else {
      const literal = literalOfDraft(input.shape, draft, report.at(input.name));
      if (literal) literals[input.name] = literal;
    }
  }
  return literals;
}

const NAME = /^[a-z]([a-z0-9-]*[a-z0-9])?$/;
export const NAME_LENGTH_MAX = 63;
const INT32_MAX = 2 ** 31 - 1;

/** Return the problems of the name and the options, at paths that start with `name` or `options`. */
export function checkOptions(form: Form): Problem[] {
  const problems: Problem[] = [];
  const name = form.name.trim();
  if (name && (!NAME.test(name) || name.length > NAME_LENGTH_MAX)) {
    const message = `At most ${NAME_LENGTH_MAX} lower-case letters, digits and dashes, beginning with a letter`;
    problems.push({ path: ["name"], message });
  }
  const { maxParallelism, labels, annotations, envs } = form.options;
  const parallel = maxParallelism.trim();
  if (parallel && (!/^\d+$/.test(parallel) || Number(parallel) > INT32_MAX)) {
    problems.push({ path: ["options", "maxParallelism"], message: "A whole number, 0 or more, is needed" });
  }
  for (const [field, pairs] of Object.entries({ labels, annotations, envs })) {
    const keys = pairs.map((pair) => pair.key.trim()).filter(Boolean);
    const twice = keys.find((key, index) => keys.indexOf(key) !== index);
    if (twice) problems.push({ path: ["options", field], message: `The key ${JSON.stringify(twice)} is there twice` });
    if (pairs.some((pair) => !pair.key.trim() && pair.value)) {
      problems.push({ path: ["options", field], message: "A value has no key" });
    }
  }
  return problems;
}

function values(pairs: Pair[]): Record<string, string> {
  return Object.fromEntries(pairs.filter((pair) => pair.key.trim()).map((pair) => [pair.key.trim(), pair.value]));
}

/** Return the part of the execution spec that the options say; what is not set is left out. */
export function optionsSpec(options: Options): Spec {
  const spec: Spec = {};
  const labels = values(options.labels);
  const annotations = values(options.annotations);
  const envs = Object.entries(values(options.envs)).map(([key, value]) => ({ key, value }));
  const tags = options.tags.map((tag) => tag.trim()).filter(Boolean);
  const serviceAccount = options.serviceAccount.trim();
  const iamRole = options.iamRole.trim();
  if (Object.keys(labels).length) spec.labels = { values: labels };
  if (Object.keys(annotations).length) spec.annotations = { values: annotations };
  if (envs.length) spec.envs = { values: envs };
  if (tags.length) spec.tags = tags;
  if (serviceAccount || iamRole) {
    const run_as = {
      ...(iamRole && { iam_role: iamRole }),
      ...(serviceAccount && { k8s_service_account: serviceAccount }),
    };
    spec.security_context = { run_as };
  }
  if (options.rawOutput.trim()) spec.raw_output_data_config = { output_location_prefix: options.rawOutput.trim() };
  if (options.maxParallelism.trim()) spec.max_parallelism = Number(options.maxParallelism);
  if (options.interruptible) spec.interruptible = options.interruptible === "true";
  if (options.overwriteCache) spec.overwrite_cache = true;
  if (options.disableNotifications) spec.disable_all = true;
  return spec;
}

/** Return the options that a spec says, for a launch like an earlier one. */
export function optionsOfSpec(spec: Spec): Options {
  const pairs = (map: Record<string, string> | undefined): Pair[] =>
    Object.entries(map ?? {}).map(([key, value]) => ({ key, value }));
  const run = spec.security_context?.run_as;
  return {
    labels: pairs(spec.labels?.values),
    annotations: pairs(spec.annotations?.values),
    envs: (spec.envs?.values ?? []).map(({ key = "", value = "" }) => ({ key, value })),
    tags: spec.tags ?? [],
    serviceAccount: run?.k8s_service_account || spec.auth_role?.kubernetes_service_account || "",
    iamRole: run?.iam_role || spec.auth_role?.assumable_iam_role || "",
    rawOutput: spec.raw_output_data_config?.output_location_prefix ?? "",
    maxParallelism: spec.max_parallelism ? String(spec.max_parallelism) : "",
    interruptible: typeof spec.interruptible === "boolean" ? (`${spec.interruptible}` as "true" | "false") : "",
    overwriteCache: spec.overwrite_cache === true,
    disableNotifications: spec.disable_all === true,
  };
}

export interface Outcome {
  /** Null where there are problems. */
  request: CreateRequest | null;
  problems: Problem[];
}

/**
 * Make the request of a form.
 *
 * @param given - Inputs of the execution that the form was filled from.
 * @param zone - The zone of datetimes that name none.
 * @param from - Name of the execution that the form was filled from; "" for none.
 */
export function createRequest(
  target: Target,
  inputs: Input[],
  form: Form,
  given: Record<string, Literal>,
  zone: Zone,
  from = "",
): Outcome {
  const report = new Report(zone, [], ["inputs"]);
  const literals = inputLiterals(inputs, form, given, report);
  const problems = [...report.problems, ...checkOptions(form)];
  if (problems.length > 0) return { request: null, problems };
  const { kind, project, domain, name, version } = target;
  const resource_type = kind === "task" ? ("TASK" as const) : ("LAUNCH_PLAN" as const);
  const request: CreateRequest = {
    project,
    domain,
    name: form.name.trim(),
    spec: {
      launch_plan: { resource_type, project, domain, name, version },
      metadata: { mode: "MANUAL", ...(from && { reference_execution: { project, domain, name: from } }) },
      ...optionsSpec(form.options),
    },
    inputs: { literals },
  };
  return { request, problems };
}

const OPTION_WORDS: ReadonlyArray<readonly [RegExp, string]> = [
  [/\blabels?\b/i, "labels"],
  [/\bannotations?\b/i, "annotations"],
  [/\btags?\b/i, "tags"],
  [/max_?parallelism/i, "maxParallelism"],
  [/raw_?output|output_location_prefix/i, "rawOutput"],
];

/**
 * Return the path of the field that a refusal of the server names; [] for the form as a whole.
 *
 * The server names an input at a fixed place of the sentence (`invalid x input wrong type`, `expected_inputs x missing`).
 */
export function refusedField(message: string, inputs: Input[]): string[] {
  const found =
    /^invalid (.+?) input wrong type/.exec(message) ??
    /^expected_inputs (.+) missing$/.exec(message) ??
    /^invalid input (.+)$/.exec(message) ??
    /\[([^\]]+)\]/.exec(message);
  const named = inputs.find((input) => input.name === found?.[1]);
  if (named) return ["inputs", named.name];
  if (/invalid name format|exceeded length|already exists/i.test(message)) return ["name"];
  const option = OPTION_WORDS.find(([pattern]) => pattern.test(message));
  return option ? ["options", option[1]] : [];
}
