/** Values as a tree of rows: the tree of a JSON value, and that of a literal with the types of its parts. */

import { showDatetime, showDuration, type Zone } from "../api/instants.ts";
import { fromStruct, isObject, type JsonValue, printJson } from "../api/json.ts";
import { jsonOfBinary, jsonOfLiteral, type Literal } from "../api/literals.ts";

/** A file, folder or table that a value refers to. */
export interface Place {
  kind: "blob" | "dataset" | "schema" | "offloaded";
  uri: string;
  format: string;
  multipart: boolean;
  sizeBytes: string;
  columns: string[];
}

export interface TreeNode {
  /** Key or index in the parent; "" at the top. */
  key: string;
  type: string;
  /** Text of a leaf, or a summary such as `3 items`. */
  text: string;
  /** Leaf: colour by kind. */
  tone: "text" | "number" | "word" | "muted";
  /** Null for a leaf. Called when the node is opened. */
  children: (() => TreeNode[]) | null;
  /** For copies. */
  json: () => JsonValue;
  place?: Place;
}

const leaf = (key: string, type: string, text: string, tone: TreeNode["tone"], json: JsonValue): TreeNode => ({
  key,
  type,
  text,
  tone,
  children: null,
  json: () => json,
});

const counted = (count: number, one: string): string =>
  `${count} ${count === 1 ? one : one.replace(/y$/, "ie").concat("s")}`;

/** Return the tree of a JSON value. */
export function treeOfJson(value: JsonValue, key = "", type = ""): TreeNode {
  const json = () => value;
  if (Array.isArray(value)) {
    const children = () => value.map((item, index) => treeOfJson(item, String(index)));
    const text = counted(value.length, "item");
    return { key, type: type || "list", text, tone: "muted", children: value.length ? children : null, json };
  }
  if (isObject(value)) {
    const keys = Object.keys(value);
    const children = () => keys.map((name) => treeOfJson(value[name] ?? null, name));
    const text = counted(keys.length, "member");
    return { key, type: type || "object", text, tone: "muted", children: keys.length ? children : null, json };
  }
  if (typeof value === "string") return leaf(key, type || "str", value, "text", value);
  const named =
    value === null ? "null" : typeof value === "boolean" ? "bool" : typeof value === "bigint" ? "int" : "float";
  return leaf(key, type || named, printJson(value), named === "int" || named === "float" ? "number" : "word", value);
}

/** Return the tree of a literal. */
export function treeOfLiteral(literal: Literal | null | undefined, zone: Zone, key = ""): TreeNode {
  const json = () => jsonOfLiteral(literal);
  if (literal?.collection) {
    const items = literal.collection.literals ?? [];
    const children = () => items.map((item, index) => treeOfLiteral(item, zone, String(index)));
    return {
      key,
      type: "list",
      text: counted(items.length, "item"),
      tone: "muted",
      children: items.length ? children : null,
      json,
    };
  }
  if (literal?.map) {
    const entries = Object.entries(literal.map.literals ?? {});
    const children = () => entries.map(([name, value]) => treeOfLiteral(value, zone, name));
    const text = counted(entries.length, "entry");
    return { key, type: "dict", text, tone: "muted", children: entries.length ? children : null, json };
  }
  if (literal?.offloaded_metadata) {
    const { uri = "", size_bytes = "" } = literal.offloaded_metadata;
    const place: Place = { kind: "offloaded", uri, format: "", multipart: false, sizeBytes: size_bytes, columns: [] };
    return { ...leaf(key, "stored value", uri, "text", uri), place };
  }
  return literal?.scalar ? treeOfScalar(literal.scalar, literal, zone, key) : leaf(key, "", "no value", "muted", null);
}

function treeOfScalar(scalar: NonNullable<Literal["scalar"]>, literal: Literal, zone: Zone, key: string): TreeNode {
  if (scalar.primitive) return treeOfPrimitive(scalar.primitive, literal, zone, key);
  if (scalar.union) return treeOfLiteral(scalar.union.value, zone, key);
  if (scalar.none_type) return leaf(key, "None", "None", "word", null);
  if (scalar.generic) return treeOfJson(fromStruct(scalar.generic), key, "struct");
  if (scalar.error) return leaf(key, "error", scalar.error.message ?? "", "text", jsonOfLiteral(literal));
  if (scalar.binary) {
    const decoded = jsonOfBinary(scalar.binary);
    if (decoded) return treeOfJson(decoded.value, key, "struct");
    const tag = scalar.binary.tag ? ` (${scalar.binary.tag})` : "";
    return leaf(key, `bytes${tag}`, scalar.binary.value ?? "", "text", scalar.binary.value ?? "");
  }
  return treeOfPlace(scalar, literal, key);
}

function treeOfPlace(scalar: NonNullable<Literal["scalar"]>, literal: Literal, key: string): TreeNode {
  const base = { multipart: false, sizeBytes: "", columns: [] as string[] };
  let place: Place | undefined;
  if (scalar.blob) {
    const { format = "", dimensionality } = scalar.blob.metadata?.type ?? {};
    place = { ...base, kind: "blob", uri: scalar.blob.uri ?? "", format, multipart: dimensionality === "MULTIPART" };
  } else if (scalar.structured_dataset) {
    const { format = "", columns = [] } = scalar.structured_dataset.metadata?.structured_dataset_type ?? {};
    const uri = scalar.structured_dataset.uri ?? "";
    place = { ...base, kind: "dataset", uri, format, columns: columns.map((column) => column.name ?? "") };
  } else if (scalar.schema) {
    const columns = (scalar.schema.type?.columns ?? []).map((column) => column.name ?? "");
    place = { ...base, kind: "schema", uri: scalar.schema.uri ?? "", format: "", columns };
  }
  if (!place) return leaf(key, "", "no value", "muted", null);
  const named = place.kind === "blob" ? (place.multipart ? "folder" : "file") : place.kind;
  const type = place.format ? `${named}[${place.format}]` : named;
  return { ...leaf(key, type, place.uri, "text", jsonOfLiteral(literal)), place };
}

function treeOfPrimitive(
  value: NonNullable<NonNullable<Literal["scalar"]>["primitive"]>,
  literal: Literal,
  zone: Zone,
  key: string,
): TreeNode {
  const json = jsonOfLiteral(literal);
  if (value.datetime !== undefined) return leaf(key, "datetime", showDatetime(value.datetime, zone), "number", json);
  if (value.duration !== undefined) return leaf(key, "duration", showDuration(value.duration), "number", json);
  if (value.integer !== undefined) return leaf(key, "int", value.integer, "number", json);
  return treeOfJson(json, key);
}

/** Nodes that a search visits; the rest of a large value is not searched. */
export const SEARCH_NODES_MAX = 50_000;

/** Nodes on the way to matches, by path: `open` has the parents, `hits` the matching nodes. */
export interface Matches {
  open: Set<string>;
  hits: Set<string>;
  complete: boolean;
}

/** Join keys to the id of a node. */
export const nodePath = (parent: string, key: string): string =>
  `${parent}/${key.replace(/~/g, "~0").replace(/\//g, "~1")}`;

/** Find the nodes whose key or text contains the words, in any case. */
export function searchTree(root: TreeNode, words: string): Matches {
  const wanted = words.toLowerCase();
  const matches: Matches = { open: new Set(), hits: new Set(), complete: true };
  let visited = 0;
  const visit = (node: TreeNode, path: string): boolean => {
    visited += 1;
    if (visited > SEARCH_NODES_MAX) {
      matches.complete = false;
      return false;
    }
    const hit = node.key.toLowerCase().includes(wanted) || (!node.children && node.text.toLowerCase().includes(wanted));
    if (hit) matches.hits.add(path);
    let below = false;
    for (const child of node.children?.() ?? []) {
      if (visit(child, nodePath(path, child.key))) below = true;
      if (!matches.complete) break;
    }
    if (below) matches.open.add(path);
    return hit || below;
  };
  visit(root, "");
  return matches;
}
