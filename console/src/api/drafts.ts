/**
 * What a form holds while a value is being edited. Drafts are plain JSON, so they survive in sessionStorage; text stays
 * as typed, even where it is wrong.
 */

import { showDatetime, showDuration, type Zone } from "./instants.ts";
import { emptyObject, floatText, fromStruct, isObject, type JsonValue, parseJson, printJson } from "./json.ts";
import {
  binaryLiteral,
  booleanLiteral,
  checkJson,
  jsonOfBinary,
  jsonOfLiteral,
  type Literal,
  literalOfText,
  NONE,
  ofText,
  parseFloat64,
  parseInt64,
  placeLiteral,
  Report,
  structLiteral,
  unionLiteral,
  variantOfJson,
} from "./literals.ts";
import { type ObjectField, type Shape, type ShapeOf, shapeLabel } from "./shapes.ts";

export type Draft =
  | { kind: "unset" }
  | { kind: "text"; text: string }
  | { kind: "boolean"; value: boolean }
  | { kind: "none" }
  | { kind: "list"; items: Draft[] }
  | { kind: "map"; entries: Array<{ key: string; value: Draft }> }
  /** `rest` is the JSON text of the members that the schema lacks. */
  | { kind: "object"; fields: Record<string, Draft>; rest: string }
  | { kind: "union"; variant: number; value: Draft }
  | { kind: "place"; uri: string; format: string }
  /** Any shape, written as JSON. */
  | { kind: "json"; text: string }
  /** A literal that the form cannot show for editing: it is sent as it came. */
  | { kind: "literal"; literal: Literal };

export const UNSET: Draft = { kind: "unset" };
const TEXT_KINDS = ["integer", "float", "string", "datetime", "duration", "enum", "binary"];

/** Return the draft of a field that nothing was written into. */
export function initialDraft(shape: Shape): Draft {
  switch (shape.kind) {
    case "none":
      return { kind: "none" };
    case "list":
      return { kind: "list", items: [] };
    case "map":
      return { kind: "map", entries: [] };
    case "object":
      return { kind: "object", fields: {}, rest: "{}" };
    case "union": {
      const none = shape.variants.findIndex((variant) => variant.shape.kind === "none");
      const variant = Math.max(none, 0);
      const first = shape.variants[variant];
      return first ? { kind: "union", variant, value: initialDraft(first.shape) } : UNSET;
    }
    case "blob":
    case "dataset":
      return { kind: "place", uri: "", format: shape.format };
    case "schema":
      return { kind: "place", uri: "", format: "" };
    default:
      return UNSET;
  }
}

/** Return the draft that shows a literal. */
export function draftOfLiteral(shape: Shape, literal: Literal): Draft {
  const kept: Draft = { kind: "literal", literal };
  const scalar = literal.scalar;
  if (shape.kind === "union") return draftOfUnion(shape, literal);
  if (shape.kind === "list" && literal.collection) {
    return { kind: "list", items: (literal.collection.literals ?? []).map((item) => draftOfLiteral(shape.item, item)) };
  }
  if (shape.kind === "map" && literal.map) {
    const entries = Object.entries(literal.map.literals ?? {});
    return {
      kind: "map",
      entries: entries.map(([key, value]) => ({ key, value: draftOfLiteral(shape.value, value) })),
    };
  }
  if (shape.kind === "none" && scalar?.none_type) return { kind: "none" };
  if (scalar?.primitive && TEXT_KINDS.includes(shape.kind)) return draftOfPrimitive(shape, scalar.primitive) ?? kept;
  if (shape.kind === "boolean" && scalar?.primitive?.boolean !== undefined) {
    return { kind: "boolean", value: scalar.primitive.boolean };
  }
  if (shape.kind === "binary" && scalar?.binary && !scalar.binary.tag) {
    return { kind: "text", text: scalar.binary.value ?? "" };
  }
  if (shape.kind === "object" || shape.kind === "any") return draftOfStruct(shape, literal) ?? kept;
  const place = placeOf(shape, literal);
  return place ?? kept;
}

function placeOf(shape: Shape, literal: Literal): Draft | undefined {
  const { blob, structured_dataset: dataset, schema } = literal.scalar ?? {};
  if (shape.kind === "blob" && blob) {
    return { kind: "place", uri: blob.uri ?? "", format: blob.metadata?.type?.format ?? "" };
  }
  if (shape.kind === "dataset" && dataset) {
    const format = dataset.metadata?.structured_dataset_type?.format ?? "";
    return { kind: "place", uri: dataset.uri ?? "", format };
  }
  if (shape.kind === "schema" && schema) return { kind: "place", uri: schema.uri ?? "", format: "" };
  return undefined;
}

function draftOfPrimitive(
  shape: Shape,
  value: NonNullable<NonNullable<Literal["scalar"]>["primitive"]>,
): Draft | undefined {
  const text = (found: string | undefined): Draft | undefined =>
    found === undefined ? undefined : { kind: "text", text: found };
  switch (shape.kind) {
    case "integer":
      return text(value.integer);
    case "float": {
      const number = value.float_value ?? value.integer;
      return text(number === undefined ? undefined : floatText(Number(number)));
    }
    case "string":
    case "enum":
      return text(value.string_value);
    case "datetime":
      return text(value.datetime && showDatetime(value.datetime, "utc"));
    case "duration":
      return text(value.duration && showDuration(value.duration));
    default:
      return undefined;
  }
}

function draftOfStruct(shape: Shape, literal: Literal): Draft | undefined {
  if (literal.scalar?.generic) return draftOfJson(shape, fromStruct(literal.scalar.generic));
  const decoded = literal.scalar?.binary && jsonOfBinary(literal.scalar.binary);
  return decoded?.exact ? draftOfJson(shape, decoded.value) : undefined;
}

function draftOfUnion(shape: ShapeOf<"union">, literal: Literal): Draft {
  const union = literal.scalar?.union;
  const value = union ? union.value : literal;
  if (!value) return { kind: "literal", literal };
  const tag = union?.type?.structure?.tag;
  const candidates = shape.variants.map((variant, index) => ({
    index,
    variant,
    draft: draftOfLiteral(variant.shape, value),
  }));
  const fitting = candidates.filter(({ draft }) => draft.kind !== "literal");
  const found =
    fitting.find(({ variant }) => tag !== undefined && variant.shape.type?.structure?.tag === tag) ?? fitting[0];
  return found ? { kind: "union", variant: found.index, value: found.draft } : { kind: "literal", literal };
}

/** Return the draft that shows a JSON value; as JSON text where the shape does not fit. */
export function draftOfJson(shape: Shape, value: JsonValue): Draft {
  const json: Draft = { kind: "json", text: printJson(value, 2) };
  switch (shape.kind) {
    case "integer":
      return typeof value === "bigint" || typeof value === "string" ? { kind: "text", text: String(value) } : json;
    case "float":
      if (typeof value === "number") return { kind: "text", text: floatText(value) };
      return typeof value === "bigint" || typeof value === "string" ? { kind: "text", text: String(value) } : json;
    case "string":
    case "enum":
    case "datetime":
    case "duration":
    case "binary":
      return typeof value === "string" ? { kind: "text", text: value } : json;
    case "boolean":
      return typeof value === "boolean" ? { kind: "boolean", value } : json;
    case "none":
      return value === null ? { kind: "none" } : json;
    case "list":
      return Array.isArray(value) ? { kind: "list", items: value.map((item) => draftOfJson(shape.item, item)) } : json;
    case "map":
      if (!isObject(value)) return json;
      return {
        kind: "map",
        entries: Object.keys(value).map((key) => ({ key, value: draftOfJson(shape.value, value[key] ?? null) })),
      };
    case "object":
      return isObject(value) ? objectDraft(shape, value) : json;
    case "union": {
      const variant = variantOfJson(shape, value, "utc");
      const found = shape.variants[variant];
      return found ? { kind: "union", variant, value: draftOfJson(found.shape, value) } : json;
    }
    case "blob":
    case "dataset":
    case "schema":
      return placeOfJson(shape, value) ?? json;
    default:
      return json;
  }
}

function placeOfJson(shape: Shape, value: JsonValue): Draft | undefined {
  const format = shape.kind === "blob" || shape.kind === "dataset" ? shape.format : "";
  if (typeof value === "string") return { kind: "place", uri: value, format };
  if (!isObject(value) || typeof value.uri !== "string") return undefined;
  return { kind: "place", uri: value.uri, format: typeof value.format === "string" ? value.format : format };
}

function objectDraft(shape: ShapeOf<"object">, value: JsonValue & object): Draft {
  const fields: Record<string, Draft> = {};
  const rest = emptyObject();
  for (const [key, member] of Object.entries(value) as Array<[string, JsonValue]>) {
    const field = shape.fields.find((one) => one.name === key);
    if (field) fields[key] = draftOfJson(field.shape, member);
    else rest[key] = member;
  }
  return { kind: "object", fields, rest: printJson(rest) };
}

/** Return the literal of a draft; undefined, with problems reported, where there is none. */
export function literalOfDraft(shape: Shape, draft: Draft, report: Report): Literal | undefined {
  if (draft.kind === "unset") return report.add(`A value of the type ${shapeLabel(shape)} is needed`);
  if (draft.kind === "literal") return draft.literal;
  if (draft.kind === "json") return literalOfText(shape, draft.text, report);
  if (draft.kind === "text") return ofText(shape, draft.text, report);
  if (draft.kind === "boolean") return booleanLiteral(draft.value);
  if (draft.kind === "none") return NONE;
  if (draft.kind === "list" && shape.kind === "list") {
    const literals = draft.items.map((item, index) => literalOfDraft(shape.item, item, report.at(index)));
    return literals.includes(undefined) ? undefined : { collection: { literals: literals as Literal[] } };
  }
  if (draft.kind === "map" && shape.kind === "map") return mapLiteral(shape, draft.entries, report);
  if (draft.kind === "object" && shape.kind === "object") {
    const value = jsonOfDraft(shape, draft, report);
    return value === undefined ? undefined : structLiteral(shape.type, value, report);
  }
  if (draft.kind === "union" && shape.kind === "union") {
    const variant = shape.variants[draft.variant];
    const value = variant && literalOfDraft(variant.shape, draft.value, report);
    return value && unionLiteral(variant.shape.type, value);
  }
  if (draft.kind === "place" && (shape.kind === "blob" || shape.kind === "dataset" || shape.kind === "schema")) {
    return placeLiteral(shape, draft.uri, draft.format, report);
  }
  return report.add(`A value of the type ${shapeLabel(shape)} is needed`);
}

type Entries = Extract<Draft, { kind: "map" }>["entries"];

function mapLiteral(shape: ShapeOf<"map">, entries: Entries, report: Report): Literal | undefined {
  const literals: Record<string, Literal> = Object.create(null);
  const before = report.problems.length;
  for (const [index, { key, value }] of entries.entries()) {
    if (key in literals) report.at(index).add(`The key ${JSON.stringify(key)} is there twice`);
    const literal = literalOfDraft(shape.value, value, report.at(index));
    if (literal) literals[key] = literal;
  }
  return report.problems.length > before ? undefined : { map: { literals } };
}

/** Return the JSON value of a draft inside a struct; undefined, with problems reported, where there is none. */
export function jsonOfDraft(shape: Shape, draft: Draft, report: Report): JsonValue | undefined {
  switch (draft.kind) {
    case "unset":
      return report.add(`A value of the type ${shapeLabel(shape)} is needed`);
    case "json":
      return jsonOfText(shape, draft.text, report);
    case "text":
      return jsonOfLine(shape, draft.text, report);
    case "boolean":
      return draft.value;
    case "none":
      return null;
    case "list":
      return shape.kind === "list" ? jsonOfItems(shape, draft.items, report) : undefined;
    case "map":
      return shape.kind === "map" ? jsonOfEntries(shape, draft.entries, report) : undefined;
    case "object":
      return shape.kind === "object" ? jsonOfObject(shape, draft, report) : undefined;
    case "union": {
      const variant = shape.kind === "union" ? shape.variants[draft.variant] : undefined;
      return variant && jsonOfDraft(variant.shape, draft.value, report);
    }
    case "place":
      return draft.uri;
    case "literal":
      return jsonOfLiteral(draft.literal);
  }
}

function jsonOfText(shape: Shape, text: string, report: Report): JsonValue | undefined {
  try {
    const value = parseJson(text);
    return checkJson(shape, value, report) ? value : undefined;
  } catch (error) {
    return report.add(error instanceof Error ? error.message : String(error));
  }
}

function jsonOfLine(shape: Shape, text: string, report: Report): JsonValue | undefined {
  if (shape.kind === "integer") return parseInt64(text, report);
  if (shape.kind === "float") return parseFloat64(text, report);
  if (shape.kind === "binary") return binaryLiteral(text, "", report) && text;
  return checkJson(shape, text, report) ? text : undefined;
}

function jsonOfItems(shape: ShapeOf<"list">, items: Draft[], report: Report): JsonValue | undefined {
  const values = items.map((item, index) => jsonOfDraft(shape.item, item, report.at(index)));
  return values.includes(undefined) ? undefined : (values as JsonValue[]);
}

function jsonOfEntries(shape: ShapeOf<"map">, entries: Entries, report: Report): JsonValue | undefined {
  const members = emptyObject();
  const before = report.problems.length;
  for (const [index, { key, value }] of entries.entries()) {
    if (key in members) report.at(index).add(`The key ${JSON.stringify(key)} is there twice`);
    const member = jsonOfDraft(shape.value, value, report.at(index));
    if (member !== undefined) members[key] = member;
  }
  return report.problems.length > before ? undefined : members;
}

function jsonOfObject(
  shape: ShapeOf<"object">,
  draft: Extract<Draft, { kind: "object" }>,
  report: Report,
): JsonValue | undefined {
  const members = emptyObject();
  const before = report.problems.length;
  for (const field of shape.fields) {
    const value = fieldDraft(field, draft.fields[field.name]);
    if (value === undefined) continue;
    const member = jsonOfDraft(field.shape, value, report.at(field.name));
    if (member !== undefined) members[field.name] = member;
  }
  const rest = jsonOfText({ kind: "any", onlyObject: true, type: null }, draft.rest, report);
  if (isObject(rest)) for (const key of Object.keys(rest)) members[key] = rest[key] ?? null;
  return report.problems.length > before ? undefined : members;
}

/** Return the draft of a field to send; undefined where the field is left out, so that its default holds. */
function fieldDraft(field: ObjectField, draft: Draft | undefined): Draft | undefined {
  if (draft !== undefined && draft.kind !== "unset") return draft;
  return field.required ? initialDraft(field.shape) : undefined;
}

/** Return the JSON value of the draft of a literal; undefined where the draft is incomplete. */
export function jsonOfInput(shape: Shape, draft: Draft, report: Report): JsonValue | undefined {
  const literal = literalOfDraft(shape, draft, report);
  return literal && jsonOfLiteral(literal);
}

export function sameDraft(a: Draft, b: Draft): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/**
 * Return the JSON value of a draft that may be wrong or incomplete, for a change from rows to text: text that does not
 * parse stays text, what is missing becomes null.
 */
export function looseJson(shape: Shape, draft: Draft, zone: Zone): JsonValue {
  const report = new Report(zone);
  const exact = shape.type ? jsonOfInput(shape, draft, report) : jsonOfDraft(shape, draft, report);
  if (exact !== undefined) return exact;
  switch (draft.kind) {
    case "text":
      return draft.text;
    case "json":
      return draft.text;
    case "list":
      return shape.kind === "list" ? draft.items.map((item) => looseJson(shape.item, item, zone)) : null;
    case "map": {
      const members = emptyObject();
      if (shape.kind !== "map") return null;
      for (const { key, value } of draft.entries) members[key] = looseJson(shape.value, value, zone);
      return members;
    }
    case "object":
      return shape.kind === "object" ? looseObject(shape, draft, zone) : null;
    case "union": {
      const variant = shape.kind === "union" ? shape.variants[draft.variant] : undefined;
      return variant ? looseJson(variant.shape, draft.value, zone) : null;
    }
    case "place":
      return draft.uri;
    default:
      return null;
  }
}

function looseObject(shape: ShapeOf<"object">, draft: Extract<Draft, { kind: "object" }>, zone: Zone): JsonValue {
  const members = emptyObject();
  for (const field of shape.fields) {
    const value = draft.fields[field.name];
    if (value && value.kind !== "unset") members[field.name] = looseJson(field.shape, value, zone);
  }
  const rest = parseJson(draft.rest);
  if (isObject(rest)) for (const key of Object.keys(rest)) members[key] = rest[key] ?? null;
  return members;
}
