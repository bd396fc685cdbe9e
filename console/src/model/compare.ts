/** Differences of two to five executions: values by path, and nodes with their phases and durations. */

export const SUBJECTS_MIN = 2;
export const SUBJECTS_MAX = 5;

/** Rows shown for one value before the rest of it is compared as one text. */
export const PATHS_MAX = 500;

/** A duration counts as different when the longest exceeds the shortest by this factor and by these seconds. */
export const SLOWER_FACTOR = 1.25;
export const SLOWER_SECONDS = 0.5;

/** One line of a comparison. A cell is undefined where the execution lacks the value. */
export interface Row {
  readonly path: string;
  readonly cells: readonly (string | undefined)[];
  readonly differs: boolean;
}

/** The values of one execution, by name; undefined while they are not loaded or cannot be read. */
export type Values = Readonly<Record<string, unknown>> | undefined;

/**
 * Compare values by name and, inside of records and lists, by path.
 *
 * @param subjects - The values of each execution. Undefined ones leave their cells empty and make no difference.
 */
export function compareValues(subjects: readonly Values[]): Row[] {
  const leaves = subjects.map((one) => one && leavesOf(one));
  const paths = new Set(leaves.flatMap((one) => (one ? [...one.keys()] : [])));
  return [...paths].map((path) => {
    const cells = leaves.map((one) => one?.get(path));
    return { path, cells, differs: differ(cells.filter((_, index) => leaves[index] !== undefined)) };
  });
}

/** Return whether the cells hold more than one text. */
export function differ(cells: readonly (string | undefined)[]): boolean {
  return new Set(cells).size > 1;
}

/** Return the leaves of values as texts, by paths such as `config.layers[2].size`. */
function leavesOf(values: Readonly<Record<string, unknown>>): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, value] of Object.entries(values)) {
    const own = new Map<string, string>();
    collect(value, name, own);
    if (own.size > PATHS_MAX) found.set(name, textOf(value));
    else for (const [path, text] of own) found.set(path, text);
  }
  return found;
}

function collect(value: unknown, path: string, found: Map<string, string>): void {
  if (found.size > PATHS_MAX) return;
  if (Array.isArray(value) && value.length > 0) {
    for (const [index, one] of value.entries()) collect(one, `${path}[${index}]`, found);
  } else if (isRecord(value) && Object.keys(value).length > 0) {
    for (const [key, one] of Object.entries(value)) collect(one, `${path}${step(key)}`, found);
  } else {
    found.set(path, textOf(value));
  }
}

function step(key: string): string {
  return /^[\p{L}_][\p{L}\p{N}_]*$/u.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}

/** Return a value as JSON with sorted keys; integers of any size keep their digits, and texts stand without quotes. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : canonical(value);
}

function canonical(value: unknown): string {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return `[${value.map(canonical).join(", ")}]`;
  if (isRecord(value)) {
    const keys = Object.keys(value).sort();
    return `{${keys.map((key) => `${JSON.stringify(key)}: ${canonical(value[key])}`).join(", ")}}`;
  }
  return JSON.stringify(value) ?? "";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** A node of an execution. */
export interface NodeRun {
  readonly id: string;
  readonly phase: string;
  readonly seconds: number | undefined;
  readonly cached: boolean;
  readonly error: string;
}

/** One node in each of the executions. */
export interface NodeRow {
  readonly id: string;
  readonly cells: readonly (NodeRun | undefined)[];
  readonly differs: boolean;
  /** The index of the slowest execution, where its duration counts as different. */
  readonly slowest: number | undefined;
}

/** Compare the nodes of executions by id, in the order in which the first execution that has a node lists it. */
export function compareNodes(subjects: readonly (readonly NodeRun[] | undefined)[]): NodeRow[] {
  const lists = subjects.map((one) => one && new Map(one.map((node) => [node.id, node])));
  const ids = new Set(lists.flatMap((one) => (one ? [...one.keys()] : [])));
  return [...ids].map((id) => {
    const cells = lists.map((one) => one?.get(id));
    const known = cells.filter((_, index) => lists[index] !== undefined);
    const slowest = slowestOf(cells);
    const states = known.map((one) => one && `${one.phase} ${one.cached}`);
    return { id, cells, slowest, differs: slowest !== undefined || differ(states) };
  });
}

function slowestOf(cells: readonly (NodeRun | undefined)[]): number | undefined {
  const timed = cells.flatMap((one, index) => (one?.seconds === undefined ? [] : [{ index, seconds: one.seconds }]));
  if (timed.length < 2) return undefined;
  timed.sort((left, right) => left.seconds - right.seconds);
  const [least, most] = [timed[0], timed[timed.length - 1]];
  return least && most && isSlower(most.seconds, least.seconds) ? most.index : undefined;
}

/** Return whether a duration counts as longer than another one. */
export function isSlower(seconds: number, than: number): boolean {
  return seconds > than * SLOWER_FACTOR && seconds - than > SLOWER_SECONDS;
}

/** Return the names in `?runs=a,b,c`: each once, at most five. */
export function subjectsOf(text: string | null | undefined): string[] {
  const names = (text ?? "").split(",").map((one) => one.trim());
  return [...new Set(names.filter(Boolean))].slice(0, SUBJECTS_MAX);
}
