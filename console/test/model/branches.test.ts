import assert from "node:assert/strict";
import { test } from "node:test";
import { armsOf, expressionText, variablesOf } from "../../src/model/branches.ts";
import { branchNode, taskNode } from "./builders.ts";

test("arms are in the order of their conditions", () => {
  const arms = armsOf(branchNode("b", taskNode("b-n0", "one"), taskNode("b-n1", "two")));
  assert.deepEqual(
    arms.map((arm) => arm.condition),
    ["if x > 10", "else if x > 5", "else"],
  );
  assert.deepEqual(
    arms.map((arm) => arm.node?.id),
    ["b-n0", "b-n1", undefined],
  );
  assert.equal(arms[2]?.failure, "too small");
});

test("conjunctions are grouped, strings are quoted, and none is named", () => {
  const text = {
    comparison: {
      operator: "EQ" as const,
      left_value: { var: "s" },
      right_value: { primitive: { string_value: 'a"b' } },
    },
  };
  const none = {
    comparison: { operator: "NEQ" as const, left_value: { var: "n0.o0" }, right_value: { scalar: { none_type: {} } } },
  };
  const both = { conjunction: { operator: "AND" as const, left_expression: text, right_expression: none } };
  assert.equal(expressionText(both), 's = "a\\"b" and n0.o0 ≠ none');
  const outer = { conjunction: { operator: "OR" as const, left_expression: both, right_expression: text } };
  assert.equal(expressionText(outer), '(s = "a\\"b" and n0.o0 ≠ none) or s = "a\\"b"');
  assert.deepEqual(variablesOf(outer), ["s", "n0.o0"]);
});

test("a condition of an unknown form is a question mark", () => {
  assert.equal(expressionText({}), "?");
  assert.equal(expressionText(undefined), "?");
});
