import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Draft,
  draftOfJson,
  draftOfLiteral,
  initialDraft,
  literalOfDraft,
  sameDraft,
} from "../../src/api/drafts.ts";
import { parseJson, printJson } from "../../src/api/json.ts";
import {
  jsonOfLiteral,
  type Literal,
  literalOfJson,
  literalOfText,
  Report,
  sameLiteral,
} from "../../src/api/literals.ts";
import { base64, encode } from "../../src/api/msgpack.ts";
import { type LiteralType, type Shape, shapeLabel, shapeOf } from "../../src/api/shapes.ts";
import {
  anyFloat,
  anyInteger,
  anyJson,
  anyText,
  anyType,
  CONFIG_TYPE,
  FREE_TYPE,
  GENERIC_TYPE,
  type Next,
  pick,
  random,
} from "./random.ts";

const simple = (name: LiteralType["simple"]): LiteralType => ({ simple: name }) as LiteralType;
const tagged = (type: LiteralType, tag: string): LiteralType => ({ ...type, structure: { tag } });
const OPTIONAL_INT: LiteralType = {
  union_type: { variants: [tagged(simple("INTEGER"), "int"), tagged(simple("NONE"), "none")] },
};

/** Return a literal of a shape, made without the code under test where that is possible. */
function anyLiteral(next: Next, shape: Shape): Literal {
  const type = shape.type ?? {};
  switch (shape.kind) {
    case "integer":
      return { scalar: { primitive: { integer: anyInteger(next).toString() } } };
    case "float": {
      const value = anyFloat(next);
      const text = String(value) as "NaN";
      return { scalar: { primitive: { float_value: Number.isFinite(value) ? (value === 0 ? 0 : value) : text } } };
    }
    case "string":
      return { scalar: { primitive: { string_value: anyText(next) } } };
    case "enum":
      return { scalar: { primitive: { string_value: pick(next, shape.values) } } };
    case "boolean":
      return { scalar: { primitive: { boolean: next(2) === 1 } } };
    case "datetime":
      return {
        scalar: {
          primitive: {
            datetime: pick(next, ["2026-01-02T03:04:05.6789Z", "0001-01-01T00:00:00Z", "2026-10-25T00:30:00Z"]),
          },
        },
      };
    case "duration":
      return { scalar: { primitive: { duration: pick(next, ["0s", "-1.5s", "90061.000000001s"]) } } };
    case "binary":
      return { scalar: { binary: { value: pick(next, ["", "AQID"]), tag: "" } } };
    case "list":
      return { collection: { literals: Array.from({ length: next(4) }, () => anyLiteral(next, shape.item)) } };
    case "map": {
      const literals: Record<string, Literal> = {};
      for (let index = next(4); index > 0; index -= 1) literals[`key ${index}`] = anyLiteral(next, shape.value);
      return { map: { literals } };
    }
    case "union": {
      const variant = pick(next, shape.variants);
      return { scalar: { union: { value: anyLiteral(next, variant.shape), type: variant.shape.type } } };
    }
    case "blob":
      return { scalar: { blob: { uri: "s3://b/k", metadata: { type: type.blob ?? {} } } } };
    case "dataset":
      return {
        scalar: {
          structured_dataset: {
            uri: "s3://b/k",
            metadata: { structured_dataset_type: type.structured_dataset_type ?? {} },
          },
        },
      };
    case "schema":
      return { scalar: { schema: { uri: "s3://b/k", type: type.schema ?? {} } } };
    case "object": {
      const inner = { weight: 1.5, next: { weight: 2.5 }, unknown: { kept: 2n ** 60n } };
      const value = {
        name: "n",
        count: anyInteger(next),
        ratio: pick(next, [null, 0.5]),
        inner,
        many: [inner],
        table: { a: 1n },
        free: anyJson(next, 2),
        other: [1.0],
      };
      return { scalar: { binary: { value: base64(encode(value)), tag: "msgpack" } } };
    }
    case "any":
      if (type.annotation)
        return { scalar: { binary: { value: base64(encode({ a: anyJson(next, 3) })), tag: "msgpack" } } };
      return { scalar: { generic: { a: [1, "x", { b: 1.5 }] } as unknown as Record<string, never> } };
    default:
      return { scalar: { none_type: {} } };
  }
}

test("the draft of any literal gives the literal back", () => {
  const next = random(7);
  let shown = 0;
  for (let round = 0; round < 3000; round += 1) {
    const shape = shapeOf(anyType(next, 3));
    const literal = anyLiteral(next, shape);
    const draft = draftOfLiteral(shape, literal);
    if (draft.kind !== "literal") shown += 1;
    const report = new Report("local");
    const found = literalOfDraft(shape, JSON.parse(JSON.stringify(draft)) as Draft, report);
    assert.deepEqual(report.problems, [], `${shapeLabel(shape)} ${JSON.stringify(literal)}`);
    assert.ok(
      found && withoutOrder(found, literal),
      `${shapeLabel(shape)}\n${JSON.stringify(literal)}\n${JSON.stringify(found)}`,
    );
  }
  assert.equal(shown, 3000);
});

/** Compare literals; the bytes of a struct by their values, since a form orders fields by the schema. */
function withoutOrder(a: Literal, b: Literal): boolean {
  return sameLiteral(a, b) || printJson(sortedJson(a)) === printJson(sortedJson(b));
}

function sortedJson(literal: Literal) {
  const sort = (value: ReturnType<typeof jsonOfLiteral>): ReturnType<typeof jsonOfLiteral> => {
    if (Array.isArray(value)) return value.map(sort);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.keys(value)
        .sort()
        .map((key) => [key, sort(value[key] ?? null)]),
    );
  };
  return sort(jsonOfLiteral(literal));
}

test("JSON of a literal reads as that literal, but where two variants fit", () => {
  const next = random(11);
  for (let round = 0; round < 2000; round += 1) {
    const shape = shapeOf(anyType(next, 2));
    if (/\||bytes/.test(shapeLabel(shape)) || shape.kind === "union") continue;
    const literal = anyLiteral(next, shape);
    const json = parseJson(printJson(jsonOfLiteral(literal)));
    const report = new Report("utc");
    const found = literalOfJson(shape, json, report);
    if (shapeLabel(shape).includes("binary")) continue;
    assert.deepEqual(report.problems, []);
    assert.ok(
      found && sameLiteral(found, literal),
      `${shapeLabel(shape)}\n${JSON.stringify(literal)}\n${JSON.stringify(found)}`,
    );
  }
});

test("values that do not fit are refused with their place", () => {
  const cases: Array<[LiteralType, string, string]> = [
    [simple("INTEGER"), "9223372036854775808", "Outside the 64-bit range, -9223372036854775808 to 9223372036854775807"],
    [simple("INTEGER"), "1.0", "A value of the type int is needed"],
    [simple("INTEGER"), '"12x"', "An integer, such as 42, is needed"],
    [simple("FLOAT"), '"1e999"', "Too large for a 64-bit float"],
    [simple("BOOLEAN"), '"true"', "A value of the type bool is needed"],
    [simple("DATETIME"), '"soon"', "A date and time, such as 2026-01-31 12:30, is needed"],
    [simple("DURATION"), "60", "A value of the type duration is needed"],
    [simple("NONE"), "0", "A value of the type None is needed"],
    [{ enum_type: { values: ["a", "b"] } }, '"c"', 'One of "a", "b" is needed'],
    [{ collection_type: simple("INTEGER") }, '[1, "x"]', "1: An integer, such as 42, is needed"],
    [
      { map_value_type: { collection_type: simple("STRING") } },
      '{"k": ["a", 2]}',
      "k.1: A value of the type str is needed",
    ],
    [OPTIONAL_INT, '"x"', "A value of the type int | None is needed"],
    [CONFIG_TYPE, '{"name": "a"}', "inner: This field is required"],
    [CONFIG_TYPE, '{"name": 1, "inner": {"weight": "x"}}', "inner.weight: A value of the type float is needed"],
    [FREE_TYPE, "[1]", "A value of the type struct is needed"],
    [
      GENERIC_TYPE,
      '{"a": 9007199254740993}',
      "value.a does not fit into a 64-bit float, the only number that this struct can hold",
    ],
    [{ blob: {} }, '""', "An address, such as s3://bucket/key, is needed"],
    [simple("INTEGER"), "[", "Line 1, column 2: a value is missing"],
  ];
  for (const [type, text, message] of cases) {
    const report = new Report("utc");
    assert.equal(literalOfText(shapeOf(type), text, report), undefined, text);
    const found = report.problems.map((problem) =>
      [...problem.path, problem.message].join(".").replace(/\.(?=[A-Z])/, ": "),
    );
    assert.equal(found[0], message);
  }
});

test("a union takes the variant of the value", () => {
  const union = shapeOf({
    union_type: {
      variants: [
        tagged(simple("FLOAT"), "float"),
        tagged(simple("INTEGER"), "int"),
        tagged({ enum_type: { values: ["red"] } }, "enum"),
        tagged(simple("STRING"), "str"),
        tagged(simple("NONE"), "none"),
      ],
    },
  });
  for (const [text, tag] of [
    ["3", "int"],
    ["3.0", "float"],
    ['"red"', "str"],
    ['"x"', "str"],
    ["null", "none"],
  ] as const) {
    const literal = literalOfText(union, text, new Report("utc"));
    assert.equal(literal?.scalar?.union?.type?.structure?.tag, tag, text);
  }
  const red = {
    scalar: {
      union: { value: { scalar: { primitive: { string_value: "red" } } }, type: tagged(simple("STRING"), "str") },
    },
  };
  const draft = draftOfLiteral(union, red);
  assert.equal(draft.kind === "union" && draft.variant, 3);
});

test("a none default of an optional becomes its none variant", () => {
  const shape = shapeOf(OPTIONAL_INT);
  const draft = draftOfLiteral(shape, { scalar: { none_type: {} } });
  assert.deepEqual(draft, { kind: "union", variant: 1, value: { kind: "none" } });
  assert.deepEqual(initialDraft(shape), draft);
});

test("a dataclass keeps unknown members and leaves out what was not written", () => {
  const shape = shapeOf(CONFIG_TYPE);
  assert.equal(shape.kind, "object");
  const draft = draftOfJson(
    shape,
    parseJson('{"name": "a", "inner": {"weight": 2.0}, "new": {"x": 12345678901234567890}}'),
  );
  const literal = literalOfDraft(shape, draft, new Report("utc"));
  assert.equal(
    printJson(jsonOfLiteral(literal)),
    '{"inner":{"weight":2.0},"name":"a","new":{"x":12345678901234567890}}',
  );
});

test("a recursive schema ends in a JSON field", () => {
  let shape: Shape | undefined = shapeOf(CONFIG_TYPE);
  let levels = 0;
  while (shape?.kind === "object" && levels < 50) {
    const fields: Array<{ name: string; shape: Shape }> = shape.fields;
    shape = fields.find((field) => field.name === "inner" || field.name === "next")?.shape;
    levels += 1;
  }
  assert.equal(shape?.kind, "any");
});

test("literals that a form cannot show are kept as they came", () => {
  const literals: Literal[] = [
    { offloaded_metadata: { uri: "s3://b/k", size_bytes: "99", inferred_type: simple("INTEGER") }, hash: "h" },
    { scalar: { binary: { value: base64(new Uint8Array([0x81, 7, 0xc0])), tag: "msgpack" } } },
    { scalar: { binary: { value: "////", tag: "msgpack" } } },
    { scalar: { error: { message: "m", failed_node_id: "n0" } } },
  ];
  for (const literal of literals) {
    for (const type of [
      simple("INTEGER"),
      FREE_TYPE,
      CONFIG_TYPE,
      simple("ERROR"),
      { collection_type: simple("STRING") },
    ]) {
      const shape = shapeOf(type);
      const draft = draftOfLiteral(shape, literal);
      assert.deepEqual(draft, { kind: "literal", literal });
      assert.equal(literalOfDraft(shape, draft, new Report("utc")), literal);
    }
  }
});

test("a key that is there twice is a problem of the second row", () => {
  const shape = shapeOf({ map_value_type: simple("INTEGER") });
  const report = new Report("utc");
  const value: Draft = { kind: "text", text: "1" };
  assert.equal(
    literalOfDraft(
      shape,
      {
        kind: "map",
        entries: [
          { key: "a", value },
          { key: "a", value },
        ],
      },
      report,
    ),
    undefined,
  );
  assert.deepEqual(report.problems, [{ path: ["1"], message: 'The key "a" is there twice' }]);
});

test("the type of an unknown thing is refused, not guessed", () => {
  const report = new Report("utc");
  assert.equal(shapeOf(undefined).kind, "unknown");
  assert.equal(literalOfText(shapeOf({}), "1", report), undefined);
  assert.equal(report.problems.length, 1);
  assert.ok(sameDraft({ kind: "none" }, { kind: "none" }));
});
