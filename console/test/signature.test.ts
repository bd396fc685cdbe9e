import assert from "node:assert/strict";
import test from "node:test";
import { outputsText, parameters, signature, slots, typeName } from "../src/model/signature.ts";

test("types are named as in Python", () => {
  const named = [
    [{ simple: "INTEGER" }, "int"],
    [{ simple: "DURATION" }, "timedelta"],
    [{ simple: "STRUCT" }, "dict"],
    [{ collection_type: { collection_type: { simple: "STRING" } } }, "list[list[str]]"],
    [{ map_value_type: { simple: "FLOAT" } }, "dict[str, float]"],
    [{ blob: { dimensionality: "SINGLE", format: "csv" } }, "file[csv]"],
    [{ blob: { dimensionality: "MULTIPART", format: "" } }, "directory"],
    [{ structured_dataset_type: {} }, "dataset"],
    [{ schema: {} }, "schema"],
    [{ enum_type: { values: ["a", "b"] } }, '"a" | "b"'],
    [{ enum_type: { values: ["a", "b", "c", "d"] } }, '"a" | "b" | "c" | …'],
    [{ simple: "SOMETHING_NEW" }, "something_new"],
    [null, "any"],
    [{}, "any"],
  ] as const;
  for (const [type, name] of named) assert.equal(typeName(type), name);
});

test("None stands last in a union", () => {
  const variants = [{ simple: "NONE" }, { simple: "STRING" }, { simple: "INTEGER" }];
  assert.equal(typeName({ union_type: { variants } }), "str | int | None");
});

test("a dataclass has the name in its JSON schema, in both forms of metadata", () => {
  const plain = { simple: "STRUCT", metadata: { title: "Config", type: "object" } };
  const reference = { simple: "STRUCT", metadata: { $ref: "#/definitions/ConfigSchema" } };
  const message = { simple: "STRUCT", metadata: { fields: { title: { string_value: "Config" } } } };
  assert.deepEqual(
    [plain, reference, message].map((one) => typeName(one)),
    ["Config", "ConfigSchema", "Config"],
  );
});

test("a type that contains itself too often is cut", () => {
  let type: object = { simple: "INTEGER" };
  for (let level = 0; level < 100; level += 1) type = { collection_type: type };
  assert.match(typeName(type), /…/);
});

test("a signature lists inputs by name and outputs without generated names", () => {
  const inputs = { variables: { rows: { type: { simple: "INTEGER" } }, a: { type: { simple: "BOOLEAN" } } } };
  const outputs = { variables: { o0: { type: { simple: "STRING" } }, o1: { type: { simple: "FLOAT" } } } };
  assert.equal(signature({ inputs, outputs }), "a: bool, rows: int → str, float");
  assert.equal(signature({ inputs: null, outputs: { variables: {} } }), "() → None");
  assert.equal(outputsText(slots({ variables: { score: { type: { simple: "FLOAT" } } } })), "score: float");
});

test("a description that repeats the name is left out", () => {
  const variables = { rows: { type: { simple: "INTEGER" }, description: "rows" }, n: { description: "How many" } };
  assert.deepEqual(
    slots({ variables }).map((one) => one.description),
    ["How many", ""],
  );
});

test("required parameters come first", () => {
  const found = parameters({
    parameters: {
      a: { var: { type: { simple: "INTEGER" } }, default: { scalar: {} } },
      z: { var: { type: { simple: "STRING" } }, required: true },
    },
  });
  assert.deepEqual(
    found.map((one) => [one.name, one.required]),
    [
      ["z", true],
      ["a", false],
    ],
  );
  assert.deepEqual(parameters(null), []);
});
