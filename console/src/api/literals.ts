/** Literals as JSON values and back, with 64-bit integers and msgpack kept exactly. */

import { parseDatetime, parseDuration, type Zone } from "./instants.ts";
import {
  emptyObject,
  fromStruct,
  isObject,
  type JsonValue,
  lossyInStruct,
  parseJson,
  printJson,
  toStruct,
} from "./json.ts";
import { base64, decode, encode, fromBase64 } from "./msgpack.ts";
import { isMsgpack, type LiteralType, type Shape, type ShapeOf, shapeLabel, shapeOf } from "./shapes.ts";
import type { components } from "./types.d.ts";

export type Literal = components["schemas"]["core.Literal"];
export type Scalar = components["schemas"]["core.Scalar"];

export const INT64_MIN = -(2n ** 63n);
export const INT64_MAX = 2n ** 63n - 1n;
/** Problems of one form; more are not collected. */
const PROBLEMS_MAX = 100;

/** What is wrong with a value, and where: keys and indices from the top. */
export interface Problem {
  path: string[];
  message: string;
}

/** Collects the problems of a value and of the values inside it. */
export class Report {
  constructor(
    readonly zone: Zone,
    readonly problems: Problem[] = [],
    readonly path: string[] = [],
  ) {}

  at(key: string | number): Report {
    return new Report(this.zone, this.problems, [...this.path, String(key)]);
  }

  /** Add a problem; the result stands for the value that could not be made. */
  add(message: string): undefined {
    if (this.problems.length < PROBLEMS_MAX) this.problems.push({ path: this.path, message });
    return undefined;
  }
}

/** Return an integer of text, or a problem. */
export function parseInt64(text: string, report: Report): bigint | undefined {
  const digits = text.trim().replace(/(?<=\d)_(?=\d)/g, "");
  if (!/^[+-]?\d{1,40}$/.test(digits)) return report.add("An integer, such as 42, is needed");
  const value = BigInt(digits.replace(/^\+/, ""));
  if (value < INT64_MIN || value > INT64_MAX)
    return report.add(`Outside the 64-bit range, ${INT64_MIN} to ${INT64_MAX}`);
  return value;
}

/** Return a float of text, or a problem. */
export function parseFloat64(text: string, report: Report): number | undefined {
  const found = text.trim().replace(/(?<=\d)_(?=\d)/g, "");
  if (/^nan$/i.test(found)) return Number.NaN;
  const infinity = /^([+-]?)inf(inity)?$/i.exec(found);
  if (infinity) return infinity[1] === "-" ? -Infinity : Infinity;
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(found)) return report.add("A number, such as 1.5, is needed");
  const value = Number(found);
  if (!Number.isFinite(value)) return report.add("Too large for a 64-bit float");
  return value;
}

const primitive = (value: NonNullable<Scalar["primitive"]>): Literal => ({ scalar: { primitive: value } });
export const NONE: Literal = { scalar: { none_type: {} } };

export function integerLiteral(value: bigint): Literal {
  return primitive({ integer: value.toString() });
}

export function floatLiteral(value: number): Literal {
  if (Number.isFinite(value)) return primitive({ float_value: value });
  return primitive({ float_value: String(value) as "NaN" | "Infinity" | "-Infinity" });
}

export const stringLiteral = (value: string): Literal => primitive({ string_value: value });
export const booleanLiteral = (value: boolean): Literal => primitive({ boolean: value });

export function datetimeLiteral(text: string, report: Report): Literal | undefined {
  const datetime = parseDatetime(text, report.zone);
  if (datetime === undefined) return report.add("A date and time, such as 2026-01-31 12:30, is needed");
  return primitive({ datetime });
}

export function durationLiteral(text: string, report: Report): Literal | undefined {
  const duration = parseDuration(text);
  if (duration === undefined) return report.add("A duration, such as 1h 2m, 90s or PT1H2M, is needed");
  return primitive({ duration });
}

export function enumLiteral(values: string[], text: string, report: Report): Literal | undefined {
  if (!values.includes(text))
    return report.add(`One of ${values.map((value) => JSON.stringify(value)).join(", ")} is needed`);
  return stringLiteral(text);
}

/** Return a file, folder, table or schema at an address. */
export function placeLiteral(
  shape: ShapeOf<"blob"> | ShapeOf<"dataset"> | ShapeOf<"schema">,
  uri: string,
  format: string,
  report: Report,
): Literal | undefined {
  if (uri.trim() === "") return report.add("An address, such as s3://bucket/key, is needed");
  const type = shape.type ?? {};
  switch (shape.kind) {
    case "blob":
      return { scalar: { blob: { uri, metadata: { type: { ...type.blob, format } } } } };
    case "schema":
      return { scalar: { schema: { uri, type: type.schema ?? {} } } };
    case "dataset": {
      const structured_dataset_type = { ...type.structured_dataset_type, format };
      return { scalar: { structured_dataset: { uri, metadata: { structured_dataset_type } } } };
    }
  }
}

export function binaryLiteral(text: string, tag: string, report: Report): Literal | undefined {
  try {
    return { scalar: { binary: { value: base64(fromBase64(text.trim())), tag } } };
  } catch {
    return report.add("Bytes in base64 are needed");
  }
}

/** Return a struct, encoded as its type asks: msgpack keeps integers, a generic Struct has doubles only. */
export function structLiteral(type: LiteralType | null, value: JsonValue, report: Report): Literal | undefined {
  if (isMsgpack(type)) {
    try {
      return { scalar: { binary: { value: base64(encode(value)), tag: "msgpack" } } };
    } catch (error) {
      return report.add(error instanceof Error ? error.message : String(error));
    }
  }
  const lossy = lossyInStruct(value);
  if (lossy) return report.add(`${lossy} does not fit into a 64-bit float, the only number that this struct can hold`);
  return { scalar: { generic: toStruct(value) as Record<string, never> } };
}

export function unionLiteral(type: LiteralType | null, value: Literal): Literal {
  return { scalar: { union: { value, type } } };
}

/**
 * Convert a JSON value to a literal.
 *
 * @param report - Receives the problems; the result is undefined where there are some.
 */
export function literalOfJson(shape: Shape, value: JsonValue, report: Report): Literal | undefined {
  switch (shape.kind) {
    case "integer":
      if (typeof value === "string") return wrap(parseInt64(value, report), integerLiteral);
      return typeof value === "bigint"
        ? wrap(parseInt64(String(value), report), integerLiteral)
        : mismatch(shape, report);
    case "float":
      if (typeof value === "string") return wrap(parseFloat64(value, report), floatLiteral);
      if (typeof value === "bigint" || typeof value === "number") return floatLiteral(Number(value));
      return mismatch(shape, report);
    case "boolean":
      return typeof value === "boolean" ? booleanLiteral(value) : mismatch(shape, report);
    case "string":
    case "datetime":
    case "duration":
    case "enum":
    case "binary":
      return typeof value === "string" ? ofText(shape, value, report) : mismatch(shape, report);
    case "none":
      return value === null ? NONE : mismatch(shape, report);
    case "list":
      return Array.isArray(value) ? listOfJson(shape, value, report) : mismatch(shape, report);
    case "map":
      return isObject(value) ? mapOfJson(shape, value, report) : mismatch(shape, report);
    case "object":
    case "any":
      return checkJson(shape, value, report) ? structLiteral(shape.type, value, report) : undefined;
    case "union":
      return unionOfJson(shape, value, report);
    case "blob":
    case "dataset":
    case "schema":
      return placeOfJson(shape, value, report);
    default:
      return report.add(`A value of the type ${shape.kind} cannot be written here`);
  }
}

function wrap<T>(value: T | undefined, make: (value: T) => Literal): Literal | undefined {
  return value === undefined ? undefined : make(value);
}

function mismatch(shape: Shape, report: Report): undefined {
  return report.add(`A value of the type ${shapeLabel(shape)} is needed`);
}

type TextShape = ShapeOf<"enum"> | Extract<Shape, { kind: "string" }>;

/** Convert text of a shape that is written as one line of text. */
export function ofText(shape: TextShape | Shape, text: string, report: Report): Literal | undefined {
  switch (shape.kind) {
    case "integer":
      return wrap(parseInt64(text, report), integerLiteral);
    case "float":
      return wrap(parseFloat64(text, report), floatLiteral);
    case "string":
      return stringLiteral(text);
    case "datetime":
      return datetimeLiteral(text, report);
    case "duration":
      return durationLiteral(text, report);
    case "enum":
      return enumLiteral(shape.values, text, report);
    case "binary":
      return binaryLiteral(text, "", report);
    default:
      return mismatch(shape, report);
  }
}

function listOfJson(shape: ShapeOf<"list">, values: JsonValue[], report: Report): Literal | undefined {
  const literals = values.map((value, index) => literalOfJson(shape.item, value, report.at(index)));
  return literals.includes(undefined) ? undefined : { collection: { literals: literals as Literal[] } };
}

function mapOfJson(shape: ShapeOf<"map">, value: JsonValue & object, report: Report): Literal | undefined {
  const literals: Record<string, Literal> = Object.create(null);
  let complete = true;
  for (const [key, member] of Object.entries(value)) {
    const literal = literalOfJson(shape.value, member as JsonValue, report.at(key));
    if (literal) literals[key] = literal;
    else complete = false;
  }
  return complete ? { map: { literals } } : undefined;
}

/** Return the variant that a JSON value fits best, or -1. */
export function variantOfJson(shape: ShapeOf<"union">, value: JsonValue, zone: Zone): number {
  const fitting = shape.variants.flatMap((variant, index) => {
    const trial = new Report(zone);
    const fits = variant.shape.type
      ? literalOfJson(variant.shape, value, trial)
      : checkJson(variant.shape, value, trial);
    return fits && trial.problems.length === 0 ? [index] : [];
  });
  const exact = fitting.find((index) => isExact(shape.variants[index]?.shape, value));
  return exact ?? fitting[0] ?? -1;
}

/** Return whether JSON has this very type, so that `3` is an int and not a float, and `"3"` a str and not an int. */
function isExact(shape: Shape | undefined, value: JsonValue): boolean {
  if (typeof value === "bigint") return shape?.kind === "integer";
  if (typeof value === "number") return shape?.kind === "float";
  if (typeof value === "string") return shape?.kind === "string";
  return false;
}

function unionOfJson(shape: ShapeOf<"union">, value: JsonValue, report: Report): Literal | undefined {
  const variant = shape.variants[variantOfJson(shape, value, report.zone)];
  if (!variant) return mismatch(shape, report);
  const literal = literalOfJson(variant.shape, value, report);
  return literal && unionLiteral(variant.shape.type, literal);
}

function placeOfJson(
  shape: ShapeOf<"blob"> | ShapeOf<"dataset"> | ShapeOf<"schema">,
  value: JsonValue,
  report: Report,
): Literal | undefined {
  const format = shape.kind === "schema" ? "" : shape.format;
  if (typeof value === "string") return placeLiteral(shape, value, format, report);
  if (isObject(value) && typeof value.uri === "string") {
    return placeLiteral(shape, value.uri, typeof value.format === "string" ? value.format : format, report);
  }
  return report.add('An address, or {"uri": …, "format": …}, is needed');
}

/** Check a JSON value inside a struct against its shape; add the problems, return whether there are none. */
export function checkJson(shape: Shape, value: JsonValue, report: Report): boolean {
  const before = report.problems.length;
  switch (shape.kind) {
    case "any":
      if (shape.onlyObject && !isObject(value)) mismatch(shape, report);
      break;
    case "integer":
      if (typeof value !== "bigint") mismatch(shape, report);
      else parseInt64(String(value), report);
      break;
    case "float":
      if (typeof value !== "bigint" && typeof value !== "number") mismatch(shape, report);
      break;
    case "list":
      if (!Array.isArray(value)) mismatch(shape, report);
      else for (const [index, item] of value.entries()) checkJson(shape.item, item, report.at(index));
      break;
    case "map":
      if (!isObject(value)) mismatch(shape, report);
      else for (const key of Object.keys(value)) checkJson(shape.value, value[key] ?? null, report.at(key));
      break;
    case "object":
      checkObject(shape, value, report);
      break;
    case "union":
      if (variantOfJson(shape, value, report.zone) < 0) mismatch(shape, report);
      break;
    case "none":
      if (value !== null) mismatch(shape, report);
      break;
    case "boolean":
      if (typeof value !== "boolean") mismatch(shape, report);
      break;
    default:
      if (typeof value !== "string") mismatch(shape, report);
      else if (shape.kind === "enum" && !shape.values.includes(value)) enumLiteral(shape.values, value, report);
  }
  return report.problems.length === before;
}

function checkObject(shape: ShapeOf<"object">, value: JsonValue, report: Report): void {
  if (!isObject(value)) {
    mismatch(shape, report);
    return;
  }
  for (const field of shape.fields) {
    const member = value[field.name];
    if (member !== undefined) checkJson(field.shape, member, report.at(field.name));
    else if (field.required) report.at(field.name).add("This field is required");
  }
}

/** Return the JSON value of a literal, for people, for copies and for `pyflyte --inputs-file`. */
export function jsonOfLiteral(literal: Literal | null | undefined): JsonValue {
  if (literal?.collection) return (literal.collection.literals ?? []).map(jsonOfLiteral);
  if (literal?.map) {
    const members = emptyObject();
    for (const [key, member] of Object.entries(literal.map.literals ?? {})) members[key] = jsonOfLiteral(member);
    return members;
  }
  if (literal?.offloaded_metadata) return literal.offloaded_metadata.uri ?? "";
  return literal?.scalar ? jsonOfScalar(literal.scalar) : null;
}

function jsonOfScalar(scalar: Scalar): JsonValue {
  if (scalar.primitive) return jsonOfPrimitive(scalar.primitive);
  if (scalar.union) return jsonOfLiteral(scalar.union.value);
  if (scalar.binary) return jsonOfBinary(scalar.binary)?.value ?? scalar.binary.value ?? "";
  if (scalar.generic) return fromStruct(scalar.generic);
  if (scalar.error) return { message: scalar.error.message ?? "", failed_node_id: scalar.error.failed_node_id ?? "" };
  const place = scalar.blob ?? scalar.structured_dataset ?? scalar.schema;
  return place ? (place.uri ?? "") : null;
}

function jsonOfPrimitive(value: NonNullable<Scalar["primitive"]>): JsonValue {
  if (value.integer !== undefined) return BigInt(value.integer);
  if (value.float_value !== undefined) return Number(value.float_value);
  return value.string_value ?? value.boolean ?? value.datetime ?? value.duration ?? null;
}

/** Decode a binary scalar; undefined where it is no msgpack. */
export function jsonOfBinary(binary: NonNullable<Scalar["binary"]>): ReturnType<typeof decode> | undefined {
  if (binary.tag !== "msgpack") return undefined;
  try {
    return decode(fromBase64(binary.value ?? ""));
  } catch {
    // Bytes of another program under this tag: they are shown as base64.
    return undefined;
  }
}

/** Convert the JSON text of one value; a syntax error becomes a problem. */
export function literalOfText(shape: Shape, text: string, report: Report): Literal | undefined {
  let value: JsonValue;
  try {
    value = parseJson(text);
  } catch (error) {
    return report.add(error instanceof Error ? error.message : String(error));
  }
  return literalOfJson(shape, value, report);
}

/** Return the type of a literal that came without one, as the server infers it. */
export function inferredShape(literal: Literal): Shape {
  const scalar = literal.scalar;
  const value = scalar?.primitive;
  if (scalar?.union?.type) return shapeOf(scalar.union.type);
  if (value?.integer !== undefined) return shapeOf({ simple: "INTEGER" });
  if (value?.float_value !== undefined) return shapeOf({ simple: "FLOAT" });
  if (value?.boolean !== undefined) return shapeOf({ simple: "BOOLEAN" });
  if (value?.datetime !== undefined) return shapeOf({ simple: "DATETIME" });
  if (value?.duration !== undefined) return shapeOf({ simple: "DURATION" });
  if (value) return shapeOf({ simple: "STRING" });
  if (scalar?.blob?.metadata?.type) return shapeOf({ blob: scalar.blob.metadata.type });
  if (scalar?.structured_dataset?.metadata?.structured_dataset_type) {
    return shapeOf({ structured_dataset_type: scalar.structured_dataset.metadata.structured_dataset_type });
  }
  if (scalar?.schema) return shapeOf({ schema: scalar.schema.type ?? {} });
  if (scalar?.generic || scalar?.binary?.tag === "msgpack") return shapeOf({ simple: "STRUCT" });
  if (scalar?.binary) return shapeOf({ simple: "BINARY" });
  return shapeOf({ simple: "NONE" });
}

/** Return whether two literals say the same, whatever the order of keys. */
export function sameLiteral(a: Literal, b: Literal): boolean {
  return printJson(sorted(fromStruct(a))) === printJson(sorted(fromStruct(b)));
}

function sorted(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  const members = emptyObject();
  for (const key of Object.keys(value).sort()) members[key] = sorted(value[key] ?? null);
  return members;
}
