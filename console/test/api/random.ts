/** Random values from a seed, for properties. */

import type { JsonValue } from "../../src/api/json.ts";
import type { LiteralType } from "../../src/api/shapes.ts";

export type Next = (below: number) => number;

/** Return a generator of integers below a limit (mulberry32). */
export function random(seed: number): Next {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const TEXTS = ["", "a", "ä€😀", 'quote " and \\', "line\nbreak", "__proto__", "<b>", "3", "null", "x".repeat(40)];
const INTEGERS = [
  0n,
  1n,
  -1n,
  -33n,
  127n,
  128n,
  255n,
  256n,
  -128n,
  -129n,
  65535n,
  65536n,
  -32769n,
  2n ** 31n,
  2n ** 32n,
  -(2n ** 31n) - 1n,
  2n ** 53n + 1n,
  2n ** 63n - 1n,
  -(2n ** 63n),
];
const FLOATS = [0, -0, 1, 1.5, -2.25, 1e300, 5e-324, Number.NaN, Infinity, -Infinity, 1e21, 123456789.125];

export const pick = <T>(next: Next, values: readonly T[]): T => values[next(values.length)] as T;
export const anyText = (next: Next): string => pick(next, TEXTS);
export const anyInteger = (next: Next): bigint => pick(next, INTEGERS);
export const anyFloat = (next: Next): number => pick(next, FLOATS);

export function anyJson(next: Next, depth: number): JsonValue {
  const kind = next(depth > 0 ? 8 : 6);
  if (kind === 0) return null;
  if (kind === 1) return next(2) === 1;
  if (kind <= 3) return anyInteger(next);
  if (kind === 4) return anyFloat(next);
  if (kind === 5) return anyText(next);
  if (kind === 6) return Array.from({ length: next(5) }, () => anyJson(next, depth - 1));
  const members = Object.create(null);
  for (let index = next(5); index > 0; index -= 1) members[`${anyText(next)}${index}`] = anyJson(next, depth - 1);
  return members;
}

const MSGPACK = { annotations: { "cache-key-metadata": { "serialization-format": "msgpack" } } };

export const CONFIG_TYPE = {
  simple: "STRUCT",
  annotation: MSGPACK,
  metadata: {
    type: "object",
    title: "Config",
    additionalProperties: false,
    required: ["name", "inner"],
    properties: {
      name: { type: "string" },
      count: { type: "integer", default: 3 },
      ratio: { anyOf: [{ type: "number" }, { type: "null" }], default: null },
      on: { type: "boolean", default: true },
      color: { type: "string", enum: ["red", "green"] },
      inner: { $ref: "#/$defs/Inner" },
      many: { type: "array", items: { $ref: "#/$defs/Inner" } },
      table: { type: "object", additionalProperties: { type: "integer" } },
      free: {},
    },
    $defs: {
      Inner: {
        type: "object",
        title: "Inner",
        properties: { weight: { type: "number" }, next: { $ref: "#/$defs/Inner" } },
      },
    },
  },
} as unknown as LiteralType;

export const FREE_TYPE = { simple: "STRUCT", annotation: MSGPACK } as unknown as LiteralType;
export const GENERIC_TYPE: LiteralType = { simple: "STRUCT" };

const LEAVES: LiteralType[] = [
  ...(["INTEGER", "FLOAT", "STRING", "BOOLEAN", "DATETIME", "DURATION", "NONE", "BINARY"] as const).map((simple) => ({
    simple,
  })),
  { enum_type: { values: ["red", "deep blue", ""] } },
  { blob: { format: "csv", dimensionality: "SINGLE" } },
  { blob: { format: "", dimensionality: "MULTIPART" } },
  { structured_dataset_type: { format: "parquet", columns: [{ name: "a", literal_type: { simple: "INTEGER" } }] } },
  { schema: { columns: [{ name: "a", type: "INTEGER" }] } },
  FREE_TYPE,
  GENERIC_TYPE,
  CONFIG_TYPE,
];

export function anyType(next: Next, depth: number): LiteralType {
  const kind = next(depth > 0 ? 7 : 4);
  if (kind < 4) return pick(next, LEAVES);
  if (kind === 4) return { collection_type: anyType(next, depth - 1) };
  if (kind === 5) return { map_value_type: anyType(next, depth - 1) };
  const variants = Array.from({ length: 1 + next(3) }, (_, index) => ({
    ...anyType(next, depth - 1),
    structure: { tag: `t${index}` },
  }));
  return { union_type: { variants } };
}
