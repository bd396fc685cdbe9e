import assert from "node:assert/strict";
import test from "node:test";
import { compareNodes, compareValues, PATHS_MAX, subjectsOf, textOf } from "../src/model/compare.ts";

test("values are compared by path; equal ones and reordered keys do not differ", () => {
  const rows = compareValues([
    { rows: 3n, config: { lr: 0.1, layers: [1, 2], "a b": "x" } },
    { rows: 3n, config: { layers: [1, 3], "a b": "x", lr: 0.1 } },
  ]);
  const found = Object.fromEntries(rows.map((row) => [row.path, row.differs]));
  assert.deepEqual(found, {
    rows: false,
    "config.lr": false,
    "config.layers[0]": false,
    "config.layers[1]": true,
    'config["a b"]': false,
  });
});

test("integers keep their digits", () => {
  const rows = compareValues([{ n: -9007199254740993n }, { n: -9007199254740992n }]);
  assert.deepEqual(rows[0], { path: "n", cells: ["-9007199254740993", "-9007199254740992"], differs: true });
});

test("a value that one execution lacks differs; an execution that is not loaded makes no difference", () => {
  assert.equal(compareValues([{ a: 1 }, {}])[0]?.differs, true);
  assert.equal(compareValues([{ a: 1 }, undefined])[0]?.differs, false);
  assert.deepEqual(compareValues([undefined, undefined]), []);
});

test("an empty record or list is a value of its own", () => {
  assert.deepEqual(compareValues([{ a: {} }, { a: [] }])[0]?.cells, ["{}", "[]"]);
  assert.equal(compareValues([{ a: null }, { a: "null" }])[0]?.differs, false);
});

test("a huge value is compared as one text", () => {
  const numbers = Array.from({ length: PATHS_MAX + 1 }, (_, index) => index);
  const rows = compareValues([{ numbers }, { numbers: [...numbers, 1] }]);
  assert.ok(rows.some((row) => row.path === "numbers" && row.differs));
});

test("texts of records have sorted keys", () => {
  assert.equal(textOf({ b: [1n, "x"], a: null }), '{"a": null, "b": [1, "x"]}');
});

function node(id: string, seconds?: number, phase = "SUCCEEDED", cached = false) {
  return { id, phase, seconds, cached, error: "" };
}

test("nodes differ by phase, cache, absence and clearly longer time", () => {
  const rows = compareNodes([
    [node("n0", 10), node("n1", 1), node("n2", 1), node("n3", 0.1)],
    [node("n0", 13), node("n1", 1, "FAILED"), node("n3", 0.3), node("n4", 2)],
  ]);
  assert.deepEqual(
    rows.map((row) => [row.id, row.differs, row.slowest]),
    [
      ["n0", true, 1],
      ["n1", true, undefined],
      ["n2", true, undefined],
      ["n3", false, undefined],
      ["n4", true, undefined],
    ],
  );
  assert.equal(compareNodes([[node("n0", 1)], [node("n0", 0, "SUCCEEDED", true)]])[0]?.differs, true);
  assert.equal(compareNodes([[node("n0", 1)], undefined])[0]?.differs, false);
});

test("the address names each execution once, and at most five", () => {
  assert.deepEqual(subjectsOf("a,b,,a, c ,d,e,f"), ["a", "b", "c", "d", "e"]);
  assert.deepEqual(subjectsOf(null), []);
});
