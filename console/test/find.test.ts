import assert from "node:assert/strict";
import test from "node:test";
import { containing, filterFor, matches } from "../src/model/find.ts";

test("all words must occur; starts of words and of names come first", () => {
  const names = ["demo.retrain", "demo.train", "train", "other"];
  assert.deepEqual(
    matches(names, "train", (one) => one),
    ["train", "demo.train", "demo.retrain"],
  );
  assert.deepEqual(
    matches(names, "train DEMO", (one) => one),
    ["demo.train", "demo.retrain"],
  );
  assert.deepEqual(
    matches(names, "  ", (one) => one, 2),
    ["demo.retrain", "demo.train"],
  );
  assert.deepEqual(
    matches(names, "x(", (one) => one),
    [],
  );
});

test("a value is asked for exactly where the filter language can hold it", () => {
  assert.deepEqual(filterFor("name", "grüße/x:y (z)"), { filter: "eq(name,grüße/x:y (z))", exact: true });
  assert.deepEqual(filterFor("version", "v2/a+bcdef:g=="), { filter: "contains(version,bcdef:g==)", exact: false });
  assert.deepEqual(filterFor("name", "a,b"), { filter: "contains(name,a)", exact: false });
  assert.equal(filterFor("name", "+;,"), undefined);
});

test("a text is looked for by its longest part that a filter can hold", () => {
  assert.equal(containing("version", "1.0+build.77"), "contains(version,build.77)");
  assert.equal(containing("version", "+"), undefined);
});
