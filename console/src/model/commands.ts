/** A launch as commands for a shell and as Python. */

import { printJson, printPython } from "../api/json.ts";
import { jsonOfLiteral, type Literal } from "../api/literals.ts";
import type { Shape } from "../api/shapes.ts";
import type { CreateRequest, Input, Target } from "./launch.ts";

/** Quote a word for a POSIX shell. Harmless words stay as they are. */
export function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, `'\\''`)}'`;
}

function join(words: string[][]): string {
  return words.map((line) => line.map(shellQuote).join(" ")).join(" \\\n  ");
}

/**
 * Return a command that sends the request.
 *
 * @param server - Address of the server without a path, with the prefix of a proxy.
 */
export function curlCommand(server: string, request: CreateRequest): string {
  return join([
    ["curl", "-X", "POST", `${server}/api/v1/executions`],
    ["-H", "Accept: application/json"],
    ["-H", "Content-Type: application/json"],
    ["-d", JSON.stringify(request)],
  ]);
}

/** Return one argument of `pyflyte run`; undefined where its command line cannot express the value. */
function pyflyteArgument(name: string, shape: Shape, literal: Literal): string[] | undefined {
  const value = jsonOfLiteral(literal);
  const primitive = literal.scalar?.primitive;
  const option = `--${name}`;
  if (literal.scalar?.union?.value) return pyflyteArgument(name, shape, literal.scalar.union.value);
  if (literal.scalar?.none_type || literal.offloaded_metadata) return undefined;
  if (shape.kind === "boolean") return [value === true ? option : `--no_${name}`];
  if (primitive?.datetime !== undefined) {
    return [
      option,
      primitive.datetime
        .replace("T", " ")
        .replace(/(\.\d{6})\d+/, "$1")
        .replace("Z", "+00:00"),
    ];
  }
  if (typeof value === "string") return value.startsWith("-") ? [`${option}=${value}`] : [option, value];
  const text = printJson(value);
  return text.startsWith("-") ? [`${option}=${text}`] : [option, text];
}

export interface Command {
  text: string;
  /** Inputs that the command leaves out, because pyflyte's command line cannot express their values. */
  missing: string[];
}

/** Return a `pyflyte run` command of the same launch. */
export function pyflyteCommand(target: Target, inputs: Input[], request: CreateRequest): Command {
  const spec = request.spec ?? {};
  const lines = [["pyflyte", "run", "-p", target.project, "-d", target.domain]];
  const add = (...words: string[]): void => {
    lines.push(words);
  };
  if (request.name) add("--name", request.name);
  for (const [key, value] of Object.entries(spec.labels?.values ?? {})) add("--label", `${key}=${value}`);
  for (const [key, value] of Object.entries(spec.annotations?.values ?? {})) add("--annotation", `${key}=${value}`);
  for (const { key = "", value = "" } of spec.envs?.values ?? []) add("--env", `${key}=${value}`);
  for (const tag of spec.tags ?? []) add("--tag", tag);
  if (spec.security_context?.run_as?.k8s_service_account) {
    add("--service-account", spec.security_context.run_as.k8s_service_account);
  }
  if (spec.raw_output_data_config?.output_location_prefix) {
    add("--raw-output-data-prefix", spec.raw_output_data_config.output_location_prefix);
  }
  if (spec.max_parallelism) add("--max-parallelism", String(spec.max_parallelism));
  if (typeof spec.interruptible === "boolean") add("--interruptible", String(spec.interruptible));
  if (spec.overwrite_cache) add("--overwrite-cache");
  if (spec.disable_all) add("--disable-notifications");
  add(target.kind === "task" ? "remote-task" : "remote-launchplan", `${target.name}:${target.version}`);
  const missing: string[] = [];
  for (const [name, literal] of Object.entries(request.inputs?.literals ?? {})) {
    const shape = inputs.find((input) => input.name === name)?.shape;
    const words = shape && pyflyteArgument(name, shape, literal);
    if (words) add(...words);
    else if (!isNone(literal)) missing.push(name);
  }
  return { text: join(lines), missing };
}

function isNone(literal: Literal): boolean {
  return Boolean(literal.scalar?.none_type ?? literal.scalar?.union?.value?.scalar?.none_type);
}

/** Return a literal as Python, with datetimes and durations as objects. */
export function pythonOfLiteral(literal: Literal): string {
  const primitive = literal.scalar?.primitive;
  if (literal.collection) return `[${(literal.collection.literals ?? []).map(pythonOfLiteral).join(", ")}]`;
  if (literal.map) {
    const members = Object.entries(literal.map.literals ?? {});
    return `{${members.map(([key, value]) => `${printPython(key)}: ${pythonOfLiteral(value)}`).join(", ")}}`;
  }
  if (literal.scalar?.union?.value) return pythonOfLiteral(literal.scalar.union.value);
  if (primitive?.datetime !== undefined) {
    const text = primitive.datetime.replace(/(\.\d{6})\d+/, "$1").replace("Z", "+00:00");
    return `datetime.datetime.fromisoformat(${printPython(text)})`;
  }
  if (primitive?.duration !== undefined) return `datetime.timedelta(seconds=${primitive.duration.replace(/s$/, "")})`;
  return printPython(jsonOfLiteral(literal));
}

/** Return Python that reads inputs or outputs of an execution or a node by their `flyte://` address. */
export function remoteSnippet(flyteUrl: string, project: string, domain: string): string {
  return [
    "from flytekit.configuration import Config",
    "from flytekit.remote import FlyteRemote",
    "",
    `remote = FlyteRemote(Config.auto(), default_project=${printPython(project)}, default_domain=${printPython(domain)})`,
    `value = remote.get(${printPython(flyteUrl)})`,
    "",
  ].join("\n");
}
