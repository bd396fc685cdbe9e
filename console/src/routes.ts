/**
 * Every address of the console: `parse` reads one, the functions in `links` write one.
 *
 * Names hold dots, versions hold `/`, `+`, `:` and `=`. The console percent-encodes them, flytekit does not, so the last
 * variable of a pattern takes the rest of the path, and each value is decoded once.
 */
import { CONSOLE } from "./root.ts";

export type EntityKind = "workflow" | "task" | "launch_plan";

export interface Place {
  project: string;
  domain: string;
}

/** The part of an execution that an address of flyteconsole's detail view names. */
export interface AttemptAddress {
  node: string;
  task: string;
  attempt: string;
  index?: string;
  mappedAttempt?: string;
  view: string;
}

export type Route =
  | { page: "home"; unknown?: string }
  | { page: "projects" }
  | ({ page: "executions" } & Place)
  | ({ page: "execution"; name: string; at?: AttemptAddress } & Place)
  | ({ page: "workflows" } & Place)
  | ({ page: "tasks" } & Place)
  | ({ page: "launchPlans" } & Place)
  | ({ page: "schedules" } & Place)
  | ({ page: "search" } & Place)
  | ({ page: "settings" } & Place)
  | ({ page: "cache" } & Place)
  | ({ page: "compare" } & Place)
  | ({ page: "entity"; kind: EntityKind; name: string } & Place)
  | ({ page: "version"; kind: EntityKind; name: string; version: string } & Place)
  | ({ page: "grid"; name: string } & Place)
  | ({ page: "launch"; kind: EntityKind; name: string } & Place);

export type PageName = Route["page"];
export type PageProps<K extends PageName> = Extract<Route, { page: K }>;

/** Outcome of `parse`: the route, and the canonical address where the given one is an old form. */
export interface Parsed {
  route: Route;
  moved?: string;
}

/** Place that was used last, where an address names no project or no domain. */
export interface Memory {
  project?: string;
  domain?: string;
}

export const DEFAULT_DOMAIN = "development";

const LISTS = [
  "executions",
  "workflows",
  "tasks",
  "launchPlans",
  "schedules",
  "search",
  "settings",
  "cache",
  "compare",
] as const;
type List = (typeof LISTS)[number];

const SEGMENTS: Record<string, EntityKind> = {
  workflow: "workflow",
  workflows: "workflow",
  task: "task",
  tasks: "task",
  launch_plan: "launch_plan",
  launchPlan: "launch_plan",
  launchPlans: "launch_plan",
};
const LIST_OF: Record<EntityKind, List> = { workflow: "workflows", task: "tasks", launch_plan: "launchPlans" };

const NAME = "([^/]+)";
const KIND = `(${Object.keys(SEGMENTS).join("|")})`;

type Builder = (place: Place, values: string[], query: URLSearchParams) => Route | null;

/** Patterns below `/projects/P/domains/D`, in the order in which they are tried. A `null` lets the next one try. */
const PATTERNS: [RegExp, Builder][] = [
  [/^$/, (place) => ({ page: "executions", ...place })],
  [new RegExp(`^(${LISTS.join("|")})$`), (place, [list]) => ({ page: list as List, ...place })],
  [
    new RegExp(
      `^executions/${NAME}/nodeId/${NAME}/taskId/${NAME}/attempt/${NAME}(?:/mappedIndex/${NAME}/mappedAttempt/${NAME})?/view/${NAME}$`,
    ),
    (place, values) => ({ page: "execution", ...place, name: values[0] ?? "", at: attemptAddress(values.slice(1)) }),
  ],
  [/^executions\/(.+)$/, (place, [name = ""]) => ({ page: "execution", ...place, name })],
  [
    new RegExp(`^${KIND}/${NAME}/launch$`),
    (place, [kind, name = ""]) => ({ page: "launch", ...kindOf(kind), ...place, name }),
  ],
  [new RegExp(`^workflows?/${NAME}/grid$`), (place, [name = ""]) => ({ page: "grid", ...place, name })],
  [
    new RegExp(`^${KIND}/(.+?)/version/(.+)$`),
    (place, [kind, name = "", version = ""]) => ({ page: "version", ...kindOf(kind), ...place, name, version }),
  ],
  [new RegExp(`^${KIND}/(.+)$`), (place, [kind, name = ""]) => ({ page: "entity", ...kindOf(kind), ...place, name })],
];

function kindOf(segment: string | undefined): { kind: EntityKind } {
  return { kind: SEGMENTS[segment ?? ""] ?? "workflow" };
}

function attemptAddress([
  node = "",
  task = "",
  attempt = "",
  index = "",
  mapped = "",
  view = "",
]: string[]): AttemptAddress {
  const at: AttemptAddress = { node, task, attempt, view };
  return index === "" ? at : { ...at, index, mappedAttempt: mapped };
}

/** Decode one value of an address. A `%` that starts no escape, as flytekit may print, stays as it is. */
export function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * Find the route of an address.
 *
 * @param pathname The path as the browser has it, still encoded, with the prefix of a proxy.
 * @param search The query with its question mark, or "".
 * @param memory The place that was used last.
 */
export function parse(pathname: string, search = "", memory: Memory = {}): Parsed {
  const path = pathname.startsWith(CONSOLE) ? pathname.slice(CONSOLE.length) : pathname;
  const query = new URLSearchParams(search);
  const clean = path.replace(/\/+$/, "");
  if (clean === "") return { route: { page: "home" } };
  if (clean === "/select-project" || clean === "/projects") return { route: { page: "projects" } };
  const placed = /^\/projects\/([^/]+)\/domains\/([^/]+)(?:\/(.*))?$/.exec(clean);
  if (placed) {
    const place = { project: decode(placed[1] ?? ""), domain: decode(placed[2] ?? "") };
    const route = below(place, placed[3] ?? "", query);
    return route ? { route } : { route: { page: "home", unknown: path } };
  }
  const old = /^\/projects\/([^/]+)(?:\/(.*))?$/.exec(clean);
  if (!old) return { route: { page: "home", unknown: path } };
  const project = decode(old[1] ?? "");
  const remembered = memory.project === project ? memory.domain : undefined;
  const domain = query.get("domain") || remembered || DEFAULT_DOMAIN;
  query.delete("domain");
  const route = below({ project, domain }, old[2] ?? "", query);
  if (!route) return { route: { page: "home", unknown: path } };
  const rest = old[2] ? `/${old[2]}` : "";
  return { route, moved: `${base({ project, domain })}${rest}${queryText(query)}` };
}

function below(place: Place, rest: string, query: URLSearchParams): Route | null {
  for (const [pattern, build] of PATTERNS) {
    const match = pattern.exec(rest);
    const route =
      match &&
      build(
        place,
        match.slice(1).map((value) => decode(value ?? "")),
        query,
      );
    if (route) return route;
  }
  return null;
}

/** Values of a query; `undefined`, "" and null are left out. */
export type Query = Record<string, string | number | boolean | null | undefined>;

function queryText(query: URLSearchParams | Query): string {
  const pairs = query instanceof URLSearchParams ? [...query] : Object.entries(query);
  const kept = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  // Slashes, colons and commas are legal in a query and easier to read there.
  const text = kept.map(([key, value]) => `${encodeURIComponent(key)}=${readable(String(value))}`).join("&");
  return text && `?${text}`;
}

function readable(value: string): string {
  return encodeURIComponent(value).replace(/%2F/g, "/").replace(/%3A/g, ":").replace(/%2C/g, ",").replace(/%20/g, "+");
}

const encode = encodeURIComponent;

function base(place: Place): string {
  return `${CONSOLE}/projects/${encode(place.project)}/domains/${encode(place.domain)}`;
}

/** Writers of addresses. Each returns a path with the prefix of a proxy, ready for `href`. */
export const links = {
  home: (): string => CONSOLE,
  projects: (): string => `${CONSOLE}/select-project`,
  list: (place: Place, list: List, query: Query = {}): string => `${base(place)}/${list}${queryText(query)}`,
  executions: (place: Place, query: Query = {}): string => `${base(place)}/executions${queryText(query)}`,
  execution: (place: Place, name: string, query: Query = {}): string =>
    `${base(place)}/executions/${encode(name)}${queryText(query)}`,
  entity: (kind: EntityKind, place: Place, name: string, query: Query = {}): string =>
    `${base(place)}/${LIST_OF[kind]}/${encode(name)}${queryText(query)}`,
  version: (kind: EntityKind, place: Place, name: string, version: string, query: Query = {}): string =>
    `${base(place)}/${kind}/${encode(name)}/version/${encode(version)}${queryText(query)}`,
  /** `query`: `version`, `lp` (name of a launch plan), `from` (name of an execution). */
  launch: (kind: EntityKind, place: Place, name: string, query: Query = {}): string =>
    `${base(place)}/${LIST_OF[kind]}/${encode(name)}/launch${queryText(query)}`,
  grid: (place: Place, name: string, query: Query = {}): string =>
    `${base(place)}/workflows/${encode(name)}/grid${queryText(query)}`,
  compare: (place: Place, names: readonly string[]): string =>
    `${base(place)}/compare${queryText({ executions: names.join(",") })}`,
};
