/** The interface of tasks, workflows and launch plans as short texts: `rows: int, rate: float = 0.5 → str`. */

type Maybe<T> = T | null | undefined;

/** A type of Flyte, as the API writes it. */
export interface LiteralType {
  readonly simple?: Maybe<string>;
  readonly schema?: Maybe<object>;
  readonly collection_type?: Maybe<LiteralType>;
  readonly map_value_type?: Maybe<LiteralType>;
  readonly blob?: Maybe<{ readonly dimensionality?: Maybe<string>; readonly format?: Maybe<string> }>;
  readonly enum_type?: Maybe<{ readonly values?: Maybe<readonly string[]> }>;
  readonly structured_dataset_type?: Maybe<object>;
  readonly union_type?: Maybe<{ readonly variants?: Maybe<readonly LiteralType[]> }>;
  readonly metadata?: Maybe<object>;
}

/** A variable of an interface. */
export interface Variable {
  readonly type?: Maybe<LiteralType>;
  readonly description?: Maybe<string>;
}

/** An input of a launch plan. */
export interface Parameter {
  readonly var?: Maybe<Variable>;
  readonly default?: Maybe<object>;
  readonly required?: Maybe<boolean>;
}

/** The inputs or outputs of an entity, by name. */
export interface VariableMap {
  readonly variables?: Maybe<Readonly<Record<string, Variable>>>;
}

/** The interface of a task or workflow. */
export interface Interface {
  readonly inputs?: Maybe<VariableMap>;
  readonly outputs?: Maybe<VariableMap>;
}

/** One input or output. */
export interface Slot {
  readonly name: string;
  readonly type: string;
  readonly description: string;
}

const SIMPLE: Readonly<Record<string, string>> = {
  NONE: "None",
  INTEGER: "int",
  FLOAT: "float",
  STRING: "str",
  BOOLEAN: "bool",
  DATETIME: "datetime",
  DURATION: "timedelta",
  BINARY: "bytes",
  ERROR: "error",
  STRUCT: "dict",
};

const ENUM_VALUES_SHOWN = 3;
const DEPTH_MAX = 20;

/** Return a type in the words of Python, such as `list[int]` or `str | None`. */
export function typeName(type: Maybe<LiteralType>, depth = 0): string {
  if (!type) return "any";
  if (depth > DEPTH_MAX) return "…";
  if (type.collection_type) return `list[${typeName(type.collection_type, depth + 1)}]`;
  if (type.map_value_type) return `dict[str, ${typeName(type.map_value_type, depth + 1)}]`;
  if (type.union_type) return unionName(type.union_type.variants ?? [], depth);
  if (type.enum_type) return enumName(type.enum_type.values ?? []);
  if (type.blob) return blobName(type.blob);
  if (type.structured_dataset_type) return "dataset";
  if (type.schema) return "schema";
  if (type.simple === "STRUCT") return titleOf(type.metadata) ?? "dict";
  return (type.simple && SIMPLE[type.simple]) || type.simple?.toLowerCase() || "any";
}

function unionName(variants: readonly LiteralType[], depth: number): string {
  const names = variants.map((one) => typeName(one, depth + 1));
  return [...names.filter((one) => one !== "None"), ...names.filter((one) => one === "None")].join(" | ");
}

function enumName(values: readonly string[]): string {
  const shown = values.slice(0, ENUM_VALUES_SHOWN).map((one) => JSON.stringify(one));
  return [...shown, ...(values.length > ENUM_VALUES_SHOWN ? ["…"] : [])].join(" | ") || "enum";
}

function blobName(blob: NonNullable<LiteralType["blob"]>): string {
  const kind = blob.dimensionality === "MULTIPART" ? "directory" : "file";
  return blob.format ? `${kind}[${blob.format}]` : kind;
}

/** Return the class name in the JSON schema of a dataclass, which flytekit stores in the type's metadata. */
function titleOf(metadata: Maybe<object>): string | undefined {
  const fields: unknown = metadata && "fields" in metadata ? metadata.fields : metadata;
  if (!isRecord(fields)) return undefined;
  const title = plainText(fields.title);
  if (title) return title;
  const reference = plainText(fields.$ref);
  return reference ? reference.slice(reference.lastIndexOf("/") + 1) : undefined;
}

/** Return the text in a JSON value or in a protobuf `Value`. */
function plainText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (isRecord(value) && typeof value.string_value === "string") return value.string_value;
  return undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Return the variables of one side of an interface in the order of their names. */
export function slots(map: Maybe<VariableMap>): Slot[] {
  return Object.entries(map?.variables ?? {})
    .map(([name, one]) => ({ name, type: typeName(one.type), description: described(name, one.description) }))
    .sort((left, right) => (left.name < right.name ? -1 : 1));
}

/** Return a description. flytekit writes the name of the variable where its author described nothing. */
function described(name: string, description: Maybe<string>): string {
  return description && description !== name ? description : "";
}

/** Return `rows: int, seed: int → str`. Outputs with generated names are shown by their types alone. */
export function signature(given: Maybe<Interface>): string {
  const inputs = slots(given?.inputs).map((one) => `${one.name}: ${one.type}`);
  return `${inputs.join(", ") || "()"} → ${outputsText(slots(given?.outputs))}`;
}

/** Return the outputs of a signature: types alone where all names are generated (`o0`, `o1`). */
export function outputsText(outputs: readonly Slot[]): string {
  if (outputs.length === 0) return "None";
  const generated = outputs.every((one) => /^o\d+$/.test(one.name));
  return outputs.map((one) => (generated ? one.type : `${one.name}: ${one.type}`)).join(", ");
}

/** Return the parameters of a launch plan: required ones first, then by name. */
export function parameters(
  map: Maybe<{ readonly parameters?: Maybe<Readonly<Record<string, Parameter>>> }>,
): (Slot & { readonly required: boolean; readonly default: Maybe<object> })[] {
  return Object.entries(map?.parameters ?? {})
    .map(([name, one]) => ({
      name,
      type: typeName(one.var?.type),
      description: described(name, one.var?.description),
      required: Boolean(one.required),
      default: one.default,
    }))
    .sort((left, right) => Number(right.required) - Number(left.required) || (left.name < right.name ? -1 : 1));
}
