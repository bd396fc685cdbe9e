import assert from "node:assert/strict";
import { test } from "node:test";
import { parseJson } from "../../src/api/json.ts";
import { bytesText, parseCsv, previewKind, textOf } from "../../src/model/preview.ts";
import { nodePath, searchTree, treeOfJson, treeOfLiteral } from "../../src/model/valueTree.ts";

test("files are shown by name, else by declared format", () => {
  assert.equal(previewKind("s3://b/x.PNG", "csv"), "image");
  assert.equal(previewKind("s3://b/abc", "csv"), "table");
  assert.equal(previewKind("/tmp/dir.md/file", ""), "text");
  assert.equal(previewKind("s3://b/00000", "parquet"), "parquet");
  assert.equal(previewKind("s3://b/x.html", ""), "text");
});

test("CSV has quotes, empty cells and line breaks inside cells", () => {
  const text = '\ufeffa,b\r\n"x, ""y""","line\nbreak"\n,\n\nlast,"cut';
  assert.deepEqual(parseCsv(text, ",", 100, true), [
    ["a", "b"],
    ['x, "y"', "line\nbreak"],
    ["", ""],
    ["last", "cut"],
  ]);
  assert.deepEqual(parseCsv(text, ",", 100, false).length, 3);
  assert.deepEqual(parseCsv(text, ",", 1, true), [["a", "b"]]);
  assert.deepEqual(parseCsv("a\tb", "\t", 9, true), [["a", "b"]]);
  assert.deepEqual(parseCsv("", ",", 9, true), []);
});

test("bytes are text or not", () => {
  assert.equal(textOf(new TextEncoder().encode("ä\n<b>\u001b[31m")), "ä\n<b>\u001b[31m");
  assert.equal(textOf(new Uint8Array([0x89, 0x50, 0, 1])), undefined);
  assert.equal(textOf(new Uint8Array([255, 254, 253, 252])), undefined);
  assert.equal(textOf(new Uint8Array([0x61, 0xc3])), "a");
});

test("sizes are short", () => {
  assert.deepEqual([0, 999, 1000, 12_345, 5_000_000_000].map(bytesText), ["0 B", "999 B", "1.0 kB", "12 kB", "5.0 GB"]);
});

test("a tree has types and text of each part", () => {
  const tree = treeOfLiteral(
    {
      map: {
        literals: {
          "a/b": { scalar: { primitive: { integer: "9007199254740993" } } },
          when: { scalar: { primitive: { datetime: "2026-01-02T03:04:05Z" } } },
          file: {
            scalar: { blob: { uri: "s3://b/k", metadata: { type: { format: "csv", dimensionality: "MULTIPART" } } } },
          },
          none: { scalar: { union: { value: { scalar: { none_type: {} } } } } },
          empty: { collection: { literals: [] } },
        },
      },
    },
    "utc",
  );
  const rows = tree.children?.().map((node) => [node.key, node.type, node.text]);
  assert.deepEqual(rows, [
    ["a/b", "int", "9007199254740993"],
    ["when", "datetime", "2026-01-02 03:04:05 UTC"],
    ["file", "folder[csv]", "s3://b/k"],
    ["none", "None", "None"],
    ["empty", "list", "0 items"],
  ]);
});

test("a search finds keys and values and opens the way to them", () => {
  const tree = treeOfJson(parseJson('{"a": {"deep": [{"x": "Needle"}]}, "needle": 1, "b": [1]}'));
  const found = searchTree(tree, "needle");
  assert.deepEqual([...found.hits], ["/a/deep/0/x", "/needle"]);
  assert.deepEqual([...found.open].sort(), ["", "/a", "/a/deep", "/a/deep/0"]);
  assert.equal(nodePath("", "a/b~"), "/a~1b~0");
  const large = treeOfJson(Array.from({ length: 60_000 }, () => "x"));
  assert.equal(searchTree(large, "x").complete, false);
});
