/**
 * Filters of the list of executions: as text in the address (`phase:failed,aborted workflow:train duration:>5m`), as
 * tokens on the page, and in the API's filter language. The keys of flyteconsole's addresses are read, too.
 */

/** How a key is compared: by part of a name, whole, by size, by time, or by one of some words. */
type Kind = "name" | "exact" | "phase" | "duration" | "after" | "before" | "words" | "label";

interface Described {
  kind: Kind;
  /** The API's field. */
  field: string;
  hint: string;
  /** Word → the API's value, for `words`. */
  words?: Readonly<Record<string, string>>;
}

const MODES = {
  manual: "0",
  scheduled: "1",
  system: "2",
  relaunch: "3",
  child: "4",
  recovered: "5",
  trigger: "6",
} as const;

/** Phases by the words of filters; the first eight are those of flyteconsole's key `status`. */
const PHASES: Readonly<Record<string, readonly string[]>> = {
  queued: ["QUEUED"],
  running: ["RUNNING", "SUCCEEDING"],
  succeeded: ["SUCCEEDED"],
  failed: ["FAILED", "FAILING", "TIMED_OUT"],
  aborted: ["ABORTED", "ABORTING"],
  unknown: ["UNDEFINED"],
};

export const KEYS = {
  phase: { kind: "phase", field: "phase", hint: "failed, running, succeeded, aborted, queued" },
  workflow: { kind: "name", field: "workflow.name", hint: "part of the name; =name for the whole" },
  lp: { kind: "name", field: "launch_plan.name", hint: "launch plan; =name for the whole" },
  task: { kind: "name", field: "task.name", hint: "task that was run alone" },
  name: { kind: "name", field: "execution_name", hint: "part of the execution's name" },
  version: { kind: "exact", field: "workflow.version", hint: "the whole version" },
  user: { kind: "exact", field: "user", hint: "me, or a user's id" },
  after: { kind: "after", field: "created_at", hint: "24h, 7d, today, 2026-11-30" },
  before: { kind: "before", field: "created_at", hint: "24h, 7d, today, 2026-11-30" },
  duration: { kind: "duration", field: "duration", hint: ">5m, <1h, 2h..3h" },
  mode: { kind: "words", field: "mode", hint: "manual, scheduled, child, …", words: MODES },
  tag: { kind: "exact", field: "admin_tag.name", hint: "the whole tag" },
  label: { kind: "label", field: "execution_tag", hint: "key=value" },
  cluster: { kind: "exact", field: "cluster", hint: "the whole name" },
  code: { kind: "exact", field: "error_code", hint: "code of the error" },
  archived: { kind: "words", field: "state", hint: "yes, all", words: { yes: "1", all: "0;1", no: "0" } },
} as const satisfies Record<string, Described>;

export type FilterKey = keyof typeof KEYS;

/** One condition. `exclude` turns it round: `-phase:failed`. */
export interface Token {
  key: FilterKey;
  values: readonly string[];
  exclude: boolean;
}

/** Return the words that a key accepts; none where it accepts any text. */
export function wordsOf(key: FilterKey): readonly string[] {
  const described: Described = KEYS[key];
  if (described.kind === "phase") return Object.keys(PHASES);
  if (described.kind === "after" || described.kind === "before")
    return ["1h", "24h", "7d", "30d", "today", "yesterday"];
  if (described.kind === "duration") return [">1m", ">10m", ">1h", "<1m"];
  return Object.keys(described.words ?? {});
}

function isKey(text: string): text is FilterKey {
  return Object.hasOwn(KEYS, text);
}

const NEEDS_QUOTES = /[\s",]/;
const PART = /(-?)([a-z]+):((?:"[^"]*"|[^\s"])*)|"([^"]*)"|(\S+)/g;

/**
 * Read filters as they are typed and as they stand in the address. A word without a known key is part of a name: of an
 * execution where it looks like a generated one, else of a workflow.
 */
export function parseFilters(text: string): Token[] {
  const found: Token[] = [];
  for (const match of text.matchAll(PART)) {
    const [whole, minus, key = "", value = "", quoted, word] = match;
    if (isKey(key)) {
      const values = splitValues(value);
      if (values.length > 0) found.push({ key, values, exclude: minus === "-" });
    } else {
      const free = quoted ?? word ?? whole;
      if (free) found.push({ key: looksGenerated(free) ? "name" : "workflow", values: [free], exclude: false });
    }
  }
  return found;
}

/** Return whether a word looks like a name that flytekit or the server made up: letters and digits without a vowel's rule. */
function looksGenerated(word: string): boolean {
  return /^[a-z][a-z0-9]{5,}$/.test(word) && /[0-9]/.test(word);
}

function splitValues(text: string): string[] {
  const parts = text.match(/(?:"[^"]*"|[^,"])+/g) ?? [];
  return parts.map((part) => part.replace(/"/g, "")).filter((part) => part !== "" && part !== "=");
}

/** Write a token as text; `parseFilters` reads it back. */
export function tokenText({ key, values, exclude }: Token): string {
  const written = values.map((value) => {
    const clean = value.replace(/"/g, "");
    return NEEDS_QUOTES.test(clean) ? `"${clean}"` : clean;
  });
  return `${exclude ? "-" : ""}${key}:${written.join(",")}`;
}

/** Write tokens as text. */
export function filtersText(tokens: readonly Token[]): string {
  return tokens.map(tokenText).join(" ");
}

/**
 * Add a token. Values of the same key are alternatives where the API can ask for one of several; otherwise the new value
 * replaces the old one.
 */
export function withToken(tokens: readonly Token[], added: Token): Token[] {
  const same = tokens.find((one) => one.key === added.key && one.exclude === added.exclude);
  if (!same) return [...tokens, added];
  const kind: Kind = KEYS[added.key].kind;
  const joins = kind === "phase" || kind === "exact" || (kind === "words" && added.key !== "archived");
  const values = joins ? [...new Set([...same.values, ...added.values])] : added.values;
  return tokens.map((one) => (one === same ? { ...one, values } : one));
}

/** The filters of a request, and what of the tokens the API cannot express. */
export interface ApiFilters {
  filters: string;
  problems: string[];
}

/**
 * Write tokens in the API's filter language.
 *
 * @param now The present in ms since 1970, to which `after:24h` is relative, rounded by the caller.
 * @param me The id of the user, for `user:me`; undefined without a login.
 */
export function apiFilters(tokens: readonly Token[], now: number, me?: string): ApiFilters {
  const parts: string[] = [];
  const problems: string[] = [];
  for (const token of tokens) {
    const written = condition(token, now, me);
    if (Array.isArray(written)) parts.push(...written);
    else problems.push(`${tokenText(token)}: ${written}`);
  }
  return { filters: parts.join("+"), problems };
}

/** Return the conditions of a token, or why it has none. */
function condition(token: Token, now: number, me: string | undefined): string[] | string {
  const { key, exclude } = token;
  const described: Described = KEYS[key];
  const { field } = described;
  const values = token.values.map((value) => (key === "user" && value === "me" ? (me ?? "") : value));
  if (values.includes("")) return "nobody is signed in";
  if (values.some((value) => /[+,;\n]/.test(value))) return "the API has no filter for a value with + , or ;";
  switch (described.kind) {
    case "phase": {
      const names = values.flatMap((value) => PHASES[value] ?? [value.toUpperCase()]);
      return oneOf(field, names, exclude);
    }
    case "words": {
      const unknown = values.find((value) => !Object.hasOwn(described.words ?? {}, value));
      if (unknown !== undefined) return `allowed is ${Object.keys(described.words ?? {}).join(", ")}`;
      return oneOf(
        field,
        values.map((value) => described.words?.[value] ?? ""),
        exclude,
      );
    }
    case "exact":
      return oneOf(field, values, exclude);
    case "name":
      return nameCondition(field, values, exclude);
    case "label":
      return labelCondition(values, exclude);
    case "duration":
      return durationCondition(field, values, exclude);
    default:
      return timeCondition(field, values, described.kind === "after" ? "gte" : "lt", now);
  }
}

function oneOf(field: string, values: readonly string[], exclude: boolean): string[] {
  const text = values.join(";");
  const several = text.includes(";");
  return [`${several ? `value_${exclude ? "not_" : ""}in` : exclude ? "ne" : "eq"}(${field},${text})`];
}

function nameCondition(field: string, values: readonly string[], exclude: boolean): string[] | string {
  const whole = values.every((value) => value.startsWith("="));
  if (whole)
    return oneOf(
      field,
      values.map((value) => value.slice(1)),
      exclude,
    );
  if (values.length > 1) return "several names need = before each";
  const [part = ""] = values;
  return [`${exclude ? "not_like" : "contains"}(${field},${exclude ? `%${part}%` : part})`];
}

function labelCondition(values: readonly string[], exclude: boolean): string[] | string {
  const [key = "", value] = (values[0] ?? "").split(/=(.*)/s);
  if (values.length > 1 || exclude) return "one label at a time, and not excluded";
  return value
    ? [`eq(execution_tag.key,${key})`, `eq(execution_tag.value,${value})`]
    : [`eq(execution_tag.key,${key})`];
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** Return the seconds of "90", "5m" or "1h30m"; undefined for another text. */
export function secondsOf(text: string): number | undefined {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  if (!/^(\d+(\.\d+)?[smhdw])+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, amount = "0", unit = "s"] of text.matchAll(/(\d+(?:\.\d+)?)([smhdw])/g))
    sum += Number(amount) * (UNITS[unit] ?? 0);
  return sum;
}

function durationCondition(field: string, values: readonly string[], exclude: boolean): string[] | string {
  const text = values[0] ?? "";
  if (values.length > 1 || exclude) return "one duration at a time, and not excluded";
  const range = /^(.+)\.\.(.+)$/.exec(text);
  const compared = /^(>=|<=|>|<)?(.+)$/.exec(text);
  const bounds: [string, string][] = range
    ? [
        ["gte", range[1] ?? ""],
        ["lt", range[2] ?? ""],
      ]
    : [[{ ">": "gt", ">=": "gte", "<": "lt", "<=": "lte" }[compared?.[1] ?? ">="] ?? "gte", compared?.[2] ?? ""]];
  const written = bounds.map(([comparison, bound]) => [comparison, secondsOf(bound)] as const);
  if (written.some(([, seconds]) => seconds === undefined)) return "allowed is a duration such as >5m, <1h or 2h..3h";
  return written.map(([comparison, seconds]) => `${comparison}(${field},${seconds}s)`);
}

/** Return the time of "24h" (ago), "today", "yesterday" or a date; undefined for another text. */
export function timeOf(text: string, now: number): number | undefined {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? undefined : secondsOf(text);
  if (seconds !== undefined) return now - seconds * 1000;
  const midnight = new Date(now);
  midnight.setHours(0, 0, 0, 0);
  if (text === "today") return midnight.getTime();
  if (text === "yesterday") return midnight.setDate(midnight.getDate() - 1);
  if (!/^\d{4}-\d{2}-\d{2}/.test(text)) return undefined;
  // A date alone is a day of the browser's zone, as the times on the page are.
  const at = new Date(text.length === 10 ? `${text}T00:00` : text).getTime();
  return Number.isNaN(at) ? undefined : at;
}

function timeCondition(field: string, values: readonly string[], comparison: string, now: number): string[] | string {
  const at = values.length === 1 ? timeOf(values[0] ?? "", now) : undefined;
  if (at === undefined) return "allowed is 24h, 7d, today, yesterday or a date such as 2026-11-30";
  return [`${comparison}(${field},${new Date(at).toISOString()})`];
}

const OLD_DURATIONS: Readonly<Record<string, string>> = {
  lt1hour: "<1h",
  gt1hour: ">1h",
  "2to3hours": "2h..3h",
  "3to4hours": "3h..4h",
  gte4hours: ">=4h",
};

/**
 * Read the keys of flyteconsole's addresses: `status`, `version`, `startTime`, `duration`.
 *
 * @returns The tokens; null where the query has none of these keys.
 */
export function oldFilters(query: URLSearchParams, now: number): Token[] | null {
  if (!OLD_KEYS.some((key) => query.has(key))) return null;
  const found: Token[] = [];
  const add = (key: FilterKey, ...values: string[]) => found.push({ key, values, exclude: false });
  const phases = (query.get("status") ?? "").split(";").filter((word) => Object.hasOwn(PHASES, word));
  if (phases.length > 0) add("phase", ...phases);
  const version = query.get("version");
  if (version) add("version", version);
  const duration = OLD_DURATIONS[query.get("duration") ?? ""];
  if (duration) add("duration", duration);
  for (const [key, value] of oldStartTime(query.get("startTime") ?? "", now)) add(key, value);
  return found;
}

/** Keys that the page takes out of an address once they are read. */
export const OLD_KEYS = ["status", "version", "startTime", "duration", "fromExecutionNav"] as const;

function oldStartTime(word: string, now: number): [FilterKey, string][] {
  const today = new Date(now);
  const day = (year: number, month: number, date: number) => {
    const at = new Date(year, month, date);
    const two = (value: number) => String(value).padStart(2, "0");
    return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  };
  const [year, month, date] = [today.getFullYear(), today.getMonth(), today.getDate()];
  const between = (from: string, to?: string): [FilterKey, string][] =>
    to
      ? [
          ["after", from],
          ["before", to],
        ]
      : [["after", from]];
  switch (word) {
    case "lastHour":
      return between("1h");
    case "today":
      return between("today");
    case "yesterday":
      return between("yesterday", "today");
    case "thisWeek":
      return between(day(year, month, date - today.getDay()));
    case "thisMonth":
      return between(day(year, month, 1));
    case "lastMonth":
      return between(day(year, month - 1, 1), day(year, month, 1));
    case "thisYear":
      return between(day(year, 0, 1));
    case "lastYear":
      return between(day(year - 1, 0, 1), day(year, 0, 1));
    default:
      return [];
  }
}
