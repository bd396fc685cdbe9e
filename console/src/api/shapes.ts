/**
 * The shape of a value: what a form shows and JSON can be checked against. Made from a literal type, and for the
 * inside of a dataclass from the JSON schema in its metadata.
 */

import type { components } from "./types.d.ts";

export type LiteralType = components["schemas"]["core.LiteralType"];

/** A variable of an object. */
export interface ObjectField {
  name: string;
  shape: Shape;
  required: boolean;
  description: string;
  /** The default of the schema as JSON.parse returns it; undefined where there is none. */
  fallback: unknown;
}

export interface Variant {
  label: string;
  shape: Shape;
}

type Kind =
  | { kind: "integer" | "float" | "string" | "boolean" | "datetime" | "duration" | "none" | "binary" | "error" }
  | { kind: "any"; onlyObject: boolean }
  | { kind: "enum"; values: string[] }
  | { kind: "list"; item: Shape }
  | { kind: "map"; value: Shape }
  | { kind: "object"; title: string; fields: ObjectField[]; others: boolean }
  | { kind: "union"; variants: Variant[] }
  | { kind: "blob"; format: string; multipart: boolean }
  | { kind: "dataset"; format: string; columns: string[] }
  | { kind: "schema"; columns: string[] }
  | { kind: "unknown" };

/**
 * `type` is the literal type of a value that is a literal of its own; null inside a struct, where values are JSON.
 */
export type Shape = Kind & { type: LiteralType | null };
export type ShapeOf<K extends Shape["kind"]> = Extract<Shape, { kind: K }>;

/** Levels of a recursive schema; deeper ones are edited as JSON. */
const SCHEMA_DEPTH_MAX = 8;

const SIMPLE: Readonly<Record<string, Kind>> = {
  NONE: { kind: "none" },
  INTEGER: { kind: "integer" },
  FLOAT: { kind: "float" },
  STRING: { kind: "string" },
  BOOLEAN: { kind: "boolean" },
  DATETIME: { kind: "datetime" },
  DURATION: { kind: "duration" },
  BINARY: { kind: "binary" },
  ERROR: { kind: "error" },
};

/** Return the shape of a literal type. */
export function shapeOf(type: LiteralType | null | undefined): Shape {
  if (!type) return { kind: "unknown", type: null };
  return { ...kindOf(type), type };
}

function kindOf(type: LiteralType): Kind {
  if (type.simple === "STRUCT") return structKind(type);
  if (type.simple !== undefined) return SIMPLE[type.simple] ?? { kind: "unknown" };
  if (type.collection_type) return { kind: "list", item: shapeOf(type.collection_type) };
  if (type.map_value_type) return { kind: "map", value: shapeOf(type.map_value_type) };
  if (type.enum_type) return { kind: "enum", values: type.enum_type.values ?? [] };
  if (type.union_type) return { kind: "union", variants: variants((type.union_type.variants ?? []).map(shapeOf)) };
  if (type.blob) {
    return { kind: "blob", format: type.blob.format ?? "", multipart: type.blob.dimensionality === "MULTIPART" };
  }
  if (type.structured_dataset_type) {
    const { columns = [], format = "" } = type.structured_dataset_type;
    return { kind: "dataset", format, columns: columns.map((column) => column.name ?? "") };
  }
  if (type.schema) return { kind: "schema", columns: (type.schema.columns ?? []).map((column) => column.name ?? "") };
  return { kind: "unknown" };
}

/** Name the variants; the tag tells two of the same label apart. */
function variants(shapes: Shape[]): Variant[] {
  const labels = shapes.map(shapeLabel);
  return shapes.map((shape, index) => {
    const label = labels[index] ?? "";
    const tag = shape.type?.structure?.tag;
    const twice = labels.filter((other) => other === label).length > 1;
    return { label: twice && tag ? `${label} (${tag})` : label, shape };
  });
}

/** Return the name of a shape, as Python writes it. */
export function shapeLabel(shape: Shape): string {
  switch (shape.kind) {
    case "integer":
      return "int";
    case "float":
      return "float";
    case "string":
      return "str";
    case "boolean":
      return "bool";
    case "list":
      return `list[${shapeLabel(shape.item)}]`;
    case "map":
      return `dict[str, ${shapeLabel(shape.value)}]`;
    case "object":
      return shape.title || "struct";
    case "any":
      return shape.type ? "struct" : "JSON";
    case "enum":
      return `enum(${shape.values.slice(0, 4).join(", ")}${shape.values.length > 4 ? ", …" : ""})`;
    case "union":
      return shape.variants.map((variant) => variant.label).join(" | ");
    case "blob":
      return `${shape.multipart ? "folder" : "file"}${shape.format ? `[${shape.format}]` : ""}`;
    case "dataset":
      return `dataset${shape.format ? `[${shape.format}]` : ""}`;
    case "none":
      return "None";
    default:
      return shape.kind;
  }
}

/** Return whether structs of this type are stored as msgpack, as flytekit does since 1.14. */
export function isMsgpack(type: LiteralType | null): boolean {
  const annotations = (type?.annotation as { annotations?: Record<string, unknown> } | null | undefined)?.annotations;
  const cache = annotations?.["cache-key-metadata"] as { "serialization-format"?: unknown } | undefined;
  return cache?.["serialization-format"] === "msgpack";
}

type Schema = Readonly<Record<string, unknown>>;

function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function structKind(type: LiteralType): Kind {
  const root = type.metadata;
  if (!isSchema(root) || Object.keys(root).length === 0) return { kind: "any", onlyObject: true };
  const shape = new SchemaReader(root).shape(root, 0);
  return shape.kind === "object" ? withoutType(shape) : { kind: "any", onlyObject: true };
}

function withoutType(shape: Shape): Kind {
  const { type: _, ...kind } = shape;
  return kind as Kind;
}

class SchemaReader {
  constructor(private readonly root: Schema) {}

  /** Follow `$ref` inside the document. */
  private resolve(schema: Schema): Schema {
    let found = schema;
    for (let step = 0; step < SCHEMA_DEPTH_MAX && typeof found.$ref === "string"; step += 1) {
      const keys = found.$ref.replace(/^#\/?/, "").split("/").filter(Boolean);
      const target = keys.reduce<unknown>(
        (at, key) => (isSchema(at) ? at[decodeURIComponent(key).replace(/~1/g, "/").replace(/~0/g, "~")] : undefined),
        this.root,
      );
      if (!isSchema(target)) return {};
      found = target;
    }
    return found;
  }

  shape(given: Schema, depth: number): Shape {
    return { ...this.kind(this.resolve(given), depth), type: null };
  }

  private kind(schema: Schema, depth: number): Kind {
    const any: Kind = { kind: "any", onlyObject: false };
    if (depth > SCHEMA_DEPTH_MAX) return any;
    if (Array.isArray(schema.enum)) {
      const values = schema.enum as unknown[];
      return values.every((value) => typeof value === "string") ? { kind: "enum", values } : any;
    }
    const alternatives = schema.anyOf ?? schema.oneOf;
    if (Array.isArray(alternatives)) return this.union(alternatives.filter(isSchema), depth);
    if (Array.isArray(schema.type))
      return this.union(
        schema.type.map((type) => ({ ...schema, type })),
        depth,
      );
    switch (schema.type) {
      case "integer":
      case "string":
      case "boolean":
        return { kind: schema.type };
      case "number":
        return { kind: "float" };
      case "null":
        return { kind: "none" };
      case "array":
        return isSchema(schema.items) ? { kind: "list", item: this.shape(schema.items, depth + 1) } : any;
      case "object":
        return this.object(schema, depth);
      default:
        return isSchema(schema.properties) ? this.object(schema, depth) : any;
    }
  }

  private union(schemas: Schema[], depth: number): Kind {
    return { kind: "union", variants: variants(schemas.map((schema) => this.shape(schema, depth + 1))) };
  }

  private object(schema: Schema, depth: number): Kind {
    if (!isSchema(schema.properties)) {
      if (!isSchema(schema.additionalProperties)) return { kind: "any", onlyObject: true };
      return { kind: "map", value: this.shape(schema.additionalProperties, depth + 1) };
    }
    const required = Array.isArray(schema.required) ? schema.required : [];
    const fields = Object.entries(schema.properties).map(([name, given]): ObjectField => {
      const member = isSchema(given) ? given : {};
      const description = typeof member.description === "string" ? member.description : "";
      const shape = this.shape(member, depth + 1);
      return { name, shape, required: required.includes(name), description, fallback: member.default };
    });
    // The server keeps no order of members: required ones come first.
    fields.sort((a, b) => Number(b.required) - Number(a.required) || a.name.localeCompare(b.name));
    const title = typeof schema.title === "string" ? schema.title : "";
    return { kind: "object", title, fields, others: schema.additionalProperties !== false };
  }
}
