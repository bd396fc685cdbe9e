/**
 * JSON without loss: an integer is a `bigint`, any other number a `number`. So `3` and `3.0` stay apart, and integers
 * of any size keep their digits. As in Python's `json`, `NaN`, `Infinity` and `-Infinity` are numbers.
 */

export type JsonValue = null | boolean | string | number | bigint | JsonValue[] | JsonObject;
export interface JsonObject {
  [key: string]: JsonValue;
}

/** Levels of lists and objects in a text; a deeper text is refused. */
export const JSON_DEPTH_MAX = 200;

export class JsonSyntaxError extends Error {
  readonly line: number;
  readonly column: number;

  constructor(message: string, text: string, offset: number) {
    const before = text.slice(0, offset).split("\n");
    const line = before.length;
    const column = (before.at(-1) ?? "").length + 1;
    super(`Line ${line}, column ${column}: ${message}`);
    this.line = line;
    this.column = column;
  }
}

/** Return an object without prototype, in which `__proto__` is a key like any other. */
export function emptyObject(): JsonObject {
  return Object.create(null) as JsonObject;
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const NUMBER = /-?(?:Infinity|(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)|NaN/y;
const WORDS: ReadonlyArray<readonly [string, JsonValue]> = [
  ["true", true],
  ["false", false],
  ["null", null],
];

class Parser {
  private offset = 0;

  constructor(private readonly text: string) {}

  document(): JsonValue {
    const value = this.value(0);
    this.space();
    if (this.offset < this.text.length) this.fail("the value ends before this character");
    return value;
  }

  private fail(message: string): never {
    throw new JsonSyntaxError(message, this.text, this.offset);
  }

  private space(): void {
    while (/[ \t\r\n]/.test(this.text[this.offset] ?? "")) this.offset += 1;
  }

  private take(character: string): boolean {
    this.space();
    if (this.text[this.offset] !== character) return false;
    this.offset += 1;
    return true;
  }

  private value(depth: number): JsonValue {
    if (depth > JSON_DEPTH_MAX) this.fail(`more than ${JSON_DEPTH_MAX} levels`);
    this.space();
    const character = this.text[this.offset];
    if (character === undefined) this.fail("a value is missing");
    if (character === "{") return this.object(depth);
    if (character === "[") return this.list(depth);
    if (character === '"') return this.string();
    for (const [word, value] of WORDS) {
      if (this.text.startsWith(word, this.offset)) {
        this.offset += word.length;
        return value;
      }
    }
    return this.number();
  }

  private number(): number | bigint {
    NUMBER.lastIndex = this.offset;
    const found = NUMBER.exec(this.text)?.[0];
    if (found === undefined) this.fail(`unexpected ${JSON.stringify(this.text[this.offset])}`);
    this.offset += found.length;
    return /^-?\d+$/.test(found) ? BigInt(found) : Number(found);
  }

  private string(): string {
    const start = this.offset;
    let end = start + 1;
    while (this.text[end] !== '"') {
      if (this.text[end] === undefined) this.fail("the text has no closing quote");
      end += this.text[end] === "\\" ? 2 : 1;
    }
    this.offset = end + 1;
    try {
      return JSON.parse(this.text.slice(start, end + 1)) as string;
    } catch {
      this.offset = start;
      return this.fail("a text with an unknown escape or a line break");
    }
  }

  private list(depth: number): JsonValue[] {
    this.offset += 1;
    const items: JsonValue[] = [];
    if (this.take("]")) return items;
    do items.push(this.value(depth + 1));
    while (this.take(","));
    if (!this.take("]")) this.fail('"," or "]" is missing');
    return items;
  }

  private object(depth: number): JsonObject {
    this.offset += 1;
    const members = emptyObject();
    if (this.take("}")) return members;
    do {
      this.space();
      if (this.text[this.offset] !== '"') this.fail("a key in double quotes is missing");
      const key = this.string();
      if (!this.take(":")) this.fail('":" is missing');
      members[key] = this.value(depth + 1);
    } while (this.take(","));
    if (!this.take("}")) this.fail('"," or "}" is missing');
    return members;
  }
}

/** Parse a JSON text. Raises `JsonSyntaxError` with line and column. */
export function parseJson(text: string): JsonValue {
  return new Parser(text).document();
}

/** Return the shortest text of a float that does not read as an integer. */
export function floatText(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Object.is(value, -0)) return "-0.0";
  const text = String(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

/** Print a value as JSON; `parseJson` returns an equal value. */
export function printJson(value: JsonValue, indent = 0, level = 0): string {
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return floatText(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const parts = Array.isArray(value)
    ? value.map((item) => printJson(item, indent, level + 1))
    : Object.keys(value).map(
        (key) => `${JSON.stringify(key)}:${indent ? " " : ""}${printJson(value[key] as JsonValue, indent, level + 1)}`,
      );
  if (parts.length === 0) return `${open}${close}`;
  const line = indent ? `\n${" ".repeat(indent * (level + 1))}` : "";
  const end = indent ? `\n${" ".repeat(indent * level)}` : "";
  return `${open}${line}${parts.join(`,${line}`)}${end}${close}`;
}

/** Print a value as a Python expression. */
export function printPython(value: JsonValue): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return Number.isFinite(value) ? floatText(value) : `float("${floatText(value)}")`;
  if (typeof value === "string") return pythonText(value);
  if (Array.isArray(value)) return `[${value.map(printPython).join(", ")}]`;
  const members = Object.keys(value).map((key) => `${pythonText(key)}: ${printPython(value[key] as JsonValue)}`);
  return `{${members.join(", ")}}`;
}

/** JSON's escapes are Python's, but for `\/`, which `JSON.stringify` never writes. */
function pythonText(text: string): string {
  return JSON.stringify(text);
}

/** Return a value of `JSON.parse`, in which each integral number becomes a `bigint`: a Struct has doubles only. */
export function fromStruct(value: unknown): JsonValue {
  if (typeof value === "number") return Number.isInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(fromStruct);
  if (typeof value === "object" && value !== null) {
    const members = emptyObject();
    for (const [key, member] of Object.entries(value)) members[key] = fromStruct(member);
    return members;
  }
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  throw new TypeError(`no JSON value: ${typeof value}`);
}

/** Return the path of the first integer that a Struct, whose numbers are doubles, cannot hold; "" where all fit. */
export function lossyInStruct(value: JsonValue, path = "value"): string {
  if (typeof value === "bigint") return BigInt(Number(value)) === value ? "" : path;
  if (typeof value === "number") return Number.isFinite(value) ? "" : path;
  if (Array.isArray(value)) return first(value.map((item, index) => lossyInStruct(item, `${path}[${index}]`)));
  if (isObject(value))
    return first(Object.keys(value).map((key) => lossyInStruct(value[key] ?? null, `${path}.${key}`)));
  return "";
}

function first(texts: string[]): string {
  return texts.find((text) => text !== "") ?? "";
}

/** Return the value for `JSON.stringify`. Call `lossyInStruct` first. */
export function toStruct(value: JsonValue): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(toStruct);
  if (isObject(value)) {
    const members = Object.create(null) as Record<string, unknown>;
    for (const key of Object.keys(value)) members[key] = toStruct(value[key] ?? null);
    return members;
  }
  return value;
}
