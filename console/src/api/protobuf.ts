/**
 * Stored values: objects that hold a core.Literal or core.LiteralMap in protobuf's binary format. They are decoded into
 * the form that REST sends, so that the same code shows them. Unknown fields are left out, as protobuf does.
 */
import type { Literal } from "./literals.ts";
import type { components } from "./types.d.ts";

type LiteralMap = components["schemas"]["core.LiteralMap"];

type Scalar = "string" | "bool" | "int64" | "uint64" | "double" | "bytes";
/** A scalar, an enum by its names, a message by name, or a message that has a form of its own in JSON. */
type Kind = Scalar | readonly string[] | "Timestamp" | "Duration" | "Struct" | { message: string };
interface Field {
  readonly name: string;
  readonly kind: Kind;
  readonly many?: "list" | "map";
}

/** Nested messages of one value at most: protobuf's own default. */
const DEPTH_MAX = 100;

const message = (name: string, many?: Field["many"]): Omit<Field, "name"> =>
  many ? { kind: { message: name }, many } : { kind: { message: name } };
const SIMPLE = ["NONE", "INTEGER", "FLOAT", "STRING", "BOOLEAN", "DATETIME", "DURATION", "BINARY", "ERROR", "STRUCT"];
const DIMENSIONALITY = ["SINGLE", "MULTIPART"];

/** Fields by message and number; core/literals.proto and the parts of core/types.proto that values hold. */
const MESSAGES: Readonly<Record<string, Readonly<Record<number, Field>>>> = {
  LiteralMap: { 1: { name: "literals", ...message("Literal", "map") } },
  LiteralCollection: { 1: { name: "literals", ...message("Literal", "list") } },
  Literal: {
    1: { name: "scalar", ...message("Scalar") },
    2: { name: "collection", ...message("LiteralCollection") },
    3: { name: "map", ...message("LiteralMap") },
    8: { name: "offloaded_metadata", ...message("Offloaded") },
  },
  Offloaded: {
    1: { name: "uri", kind: "string" },
    2: { name: "size_bytes", kind: "uint64" },
    3: { name: "inferred_type", ...message("LiteralType") },
  },
  Scalar: {
    1: { name: "primitive", ...message("Primitive") },
    2: { name: "blob", ...message("Blob") },
    3: { name: "binary", ...message("Binary") },
    4: { name: "schema", ...message("Schema") },
    5: { name: "none_type", ...message("Void") },
    6: { name: "error", ...message("Error") },
    7: { name: "generic", kind: "Struct" },
    8: { name: "structured_dataset", ...message("StructuredDataset") },
    9: { name: "union", ...message("Union") },
  },
  Void: {},
  Primitive: {
    1: { name: "integer", kind: "int64" },
    2: { name: "float_value", kind: "double" },
    3: { name: "string_value", kind: "string" },
    4: { name: "boolean", kind: "bool" },
    5: { name: "datetime", kind: "Timestamp" },
    6: { name: "duration", kind: "Duration" },
  },
  Blob: { 1: { name: "metadata", ...message("BlobMetadata") }, 3: { name: "uri", kind: "string" } },
  BlobMetadata: { 1: { name: "type", ...message("BlobType") } },
  BlobType: { 1: { name: "format", kind: "string" }, 2: { name: "dimensionality", kind: DIMENSIONALITY } },
  Binary: { 1: { name: "value", kind: "bytes" }, 2: { name: "tag", kind: "string" } },
  Schema: { 1: { name: "uri", kind: "string" }, 3: { name: "type", ...message("SchemaType") } },
  SchemaType: { 3: { name: "columns", ...message("Column", "list") } },
  Column: { 1: { name: "name", kind: "string" } },
  Error: { 1: { name: "failed_node_id", kind: "string" }, 2: { name: "message", kind: "string" } },
  StructuredDataset: {
    1: { name: "uri", kind: "string" },
    2: { name: "metadata", ...message("StructuredDatasetMetadata") },
  },
  StructuredDatasetMetadata: { 1: { name: "structured_dataset_type", ...message("StructuredDatasetType") } },
  StructuredDatasetType: {
    1: { name: "columns", ...message("Column", "list") },
    2: { name: "format", kind: "string" },
  },
  Union: { 1: { name: "value", ...message("Literal") }, 2: { name: "type", ...message("LiteralType") } },
  LiteralType: {
    1: { name: "simple", kind: SIMPLE },
    3: { name: "collection_type", ...message("LiteralType") },
    4: { name: "map_value_type", ...message("LiteralType") },
    5: { name: "blob", ...message("BlobType") },
    8: { name: "structured_dataset_type", ...message("StructuredDatasetType") },
    11: { name: "structure", ...message("TypeStructure") },
  },
  TypeStructure: { 1: { name: "tag", kind: "string" } },
  Moment: { 1: { name: "seconds", kind: "int64" }, 2: { name: "nanos", kind: "int64" } },
  Struct: { 1: { name: "fields", ...message("Value", "map") } },
  Value: {
    1: { name: "null_value", kind: ["NULL_VALUE"] },
    2: { name: "number_value", kind: "double" },
    3: { name: "string_value", kind: "string" },
    4: { name: "bool_value", kind: "bool" },
    5: { name: "struct_value", ...message("Struct") },
    6: { name: "list_value", ...message("ListValue") },
  },
  ListValue: { 1: { name: "values", ...message("Value", "list") } },
};

type Decoded = Record<string, unknown>;

/** Decode a core.Literal. Throws for bytes that are none. */
export const literalOf = (bytes: Uint8Array): Literal => decoded("Literal", new Reader(bytes), 0) as Literal;

/** Decode a core.LiteralMap. Throws for bytes that are none. */
export const literalMapOf = (bytes: Uint8Array): LiteralMap =>
  decoded("LiteralMap", new Reader(bytes), 0) as LiteralMap;

class Reader {
  private at = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get ended(): boolean {
    return this.at >= this.bytes.length;
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) break;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new Error("The stored object is no value: a number has no end.");
  }

  double(): number {
    this.skip(8);
    return this.view.getFloat64(this.at - 8, true);
  }

  part(): Uint8Array {
    const length = Number(this.varint());
    this.skip(length);
    return this.bytes.subarray(this.at - length, this.at);
  }

  skip(length: number): void {
    if (!(length <= this.bytes.length - this.at)) throw new Error("The stored object is no value: it ends early.");
    this.at += length;
  }
}

function decoded(name: string, reader: Reader, depth: number): Decoded {
  if (depth > DEPTH_MAX) throw new Error(`The value is nested more than ${DEPTH_MAX} levels deep.`);
  const fields = MESSAGES[name] ?? {};
  const found: Decoded = {};
  while (!reader.ended) {
    const tag = reader.varint();
    const wire = Number(tag & 7n);
    const field = fields[Number(tag >> 3n)];
    if (field && fits(field.kind, wire)) keep(found, field, fieldValue(field, reader, depth));
    else skip(reader, wire);
  }
  return found;
}

/** Whether a value of this kind is encoded with a wire type. */
function fits(kind: Kind, wire: number): boolean {
  if (kind === "double") return wire === 1;
  const isVarint = Array.isArray(kind) || kind === "bool" || kind === "int64" || kind === "uint64";
  return wire === (isVarint ? 0 : 2);
}

function skip(reader: Reader, wire: number): void {
  if (wire === 0) reader.varint();
  else if (wire === 1) reader.skip(8);
  else if (wire === 2) reader.part();
  else if (wire === 5) reader.skip(4);
  else throw new Error("The stored object is no value: it has an unknown wire type.");
}

/** Set a field of a message: of lists and maps one more member. A oneof keeps what came last, as it comes once. */
function keep(found: Decoded, { name, many }: Field, value: unknown): void {
  if (many === "list") {
    found[name] ??= [];
    (found[name] as unknown[]).push(value);
  } else if (many === "map") {
    // Without a prototype, so that the key "__proto__" is one like others.
    found[name] ??= Object.create(null);
    const [key, member] = value as [string, unknown];
    (found[name] as Decoded)[key] = member;
  } else found[name] = value;
}

function fieldValue({ kind, many }: Field, reader: Reader, depth: number): unknown {
  if (many === "map") return entryOf(kind, reader.part(), depth);
  if (kind === "double") return doubleOf(reader.double());
  if (kind === "bool") return reader.varint() !== 0n;
  if (kind === "int64") return BigInt.asIntN(64, reader.varint()).toString();
  if (kind === "uint64") return reader.varint().toString();
  if (Array.isArray(kind)) return nameOf(kind as readonly string[], Number(reader.varint()));
  const bytes = reader.part();
  if (kind === "string") return new TextDecoder().decode(bytes);
  if (kind === "bytes") return base64Of(bytes);
  const inner = new Reader(bytes);
  if (kind === "Timestamp") return timestampText(decoded("Moment", inner, depth + 1));
  if (kind === "Duration") return durationText(decoded("Moment", inner, depth + 1));
  if (kind === "Struct") return structOf(decoded("Struct", inner, depth + 1));
  return decoded((kind as { message: string }).message, inner, depth + 1);
}

function entryOf(kind: Kind, bytes: Uint8Array, depth: number): [string, unknown] {
  const reader = new Reader(bytes);
  let key = "";
  let value: unknown = {};
  while (!reader.ended) {
    const tag = reader.varint();
    if (tag === 10n) key = new TextDecoder().decode(reader.part());
    else if (tag === 18n) value = fieldValue({ name: "", kind }, reader, depth);
    else skip(reader, Number(tag & 7n));
  }
  return [key, value];
}

const nameOf = (names: readonly string[], number: number): string => names[number] ?? String(number);

/** Numbers that JSON lacks are texts, as REST sends them. */
const doubleOf = (value: number): number | string => (Number.isFinite(value) ? value : String(value));

function base64Of(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

/** Return a fraction of a second with its dot, "" for none. */
function fractionText(nanos: number): string {
  return nanos === 0
    ? ""
    : `.${String(Math.abs(nanos))
        .padStart(9, "0")
        .replace(/(000){1,2}$/, "")}`;
}

function timestampText(moment: Decoded): string {
  const whole = new Date(Number(moment.seconds ?? 0) * 1000);
  if (Number.isNaN(whole.getTime())) throw new Error("The value has a time outside of the calendar.");
  return `${whole.toISOString().slice(0, 19)}${fractionText(Number(moment.nanos ?? 0))}Z`;
}

function durationText(moment: Decoded): string {
  const [seconds, nanos] = [BigInt(String(moment.seconds ?? "0")), Number(moment.nanos ?? 0)];
  const sign = seconds < 0n || nanos < 0 ? "-" : "";
  return `${sign}${seconds < 0n ? -seconds : seconds}${fractionText(nanos)}s`;
}

function structOf(message: Decoded): Decoded {
  const found: Decoded = Object.create(null);
  for (const [key, value] of Object.entries((message.fields as Decoded | undefined) ?? {})) {
    found[key] = plainOf(value as Decoded);
  }
  return found;
}

function plainOf(value: Decoded): unknown {
  if (value.struct_value !== undefined) return structOf(value.struct_value as Decoded);
  if (value.list_value !== undefined)
    return ((value.list_value as Decoded).values as Decoded[] | undefined)?.map(plainOf) ?? [];
  return value.number_value ?? value.string_value ?? value.bool_value ?? null;
}
