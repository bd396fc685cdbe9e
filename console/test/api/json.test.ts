import assert from "node:assert/strict";
import { test } from "node:test";
import {
  fromStruct,
  JsonSyntaxError,
  type JsonValue,
  lossyInStruct,
  parseJson,
  printJson,
  printPython,
  toStruct,
} from "../../src/api/json.ts";
import { base64, decode, encode, fromBase64 } from "../../src/api/msgpack.ts";
import { anyJson, random } from "./random.ts";

test("integers keep their digits and floats stay floats", () => {
  for (const text of [
    "9007199254740993",
    "-9223372036854775808",
    "99999999999999999999999",
    "3.0",
    "-0.0",
    "1.5",
    "1e+21",
    "NaN",
    "-Infinity",
  ]) {
    assert.equal(printJson(parseJson(text)), text);
  }
  assert.equal(typeof parseJson("3"), "bigint");
  assert.equal(typeof parseJson("3.0"), "number");
});

test("text and structure are those of JSON.parse", () => {
  const text = String.raw`{"a": [true, false, null, "\u00e4\n\"\\/"], "": {}, "__proto__": {"x": "1"}, "constructor": []}`;
  const value = parseJson(text) as Record<string, JsonValue>;
  assert.deepEqual(JSON.parse(printJson(value)), JSON.parse(text));
  assert.deepEqual(Object.keys(value), ["a", "", "__proto__", "constructor"]);
});

test("wrong texts are refused with line and column", () => {
  const cases: Array<[string, string]> = [
    ["", "Line 1, column 1: a value is missing"],
    ["[1,\n 2", 'Line 2, column 3: "," or "]" is missing'],
    ['{"a" 1}', 'Line 1, column 6: ":" is missing'],
    ["{a: 1}", "Line 1, column 2: a key in double quotes is missing"],
    ["01", "Line 1, column 2: the value ends before this character"],
    ["'x'", `Line 1, column 1: unexpected "'"`],
    ['"\\q"', "Line 1, column 1: a text with an unknown escape or a line break"],
    ['"a\nb"', "Line 1, column 1: a text with an unknown escape or a line break"],
    ['"a', "Line 1, column 1: the text has no closing quote"],
    ["[1] 2", "Line 1, column 5: the value ends before this character"],
    ["[".repeat(1000), "Line 1, column 202: more than 200 levels"],
  ];
  for (const [text, message] of cases) {
    assert.throws(
      () => parseJson(text),
      (error) => error instanceof JsonSyntaxError && error.message === message,
      text,
    );
  }
});

test("any value comes back from JSON text and from msgpack", () => {
  const next = random(1);
  for (let round = 0; round < 500; round += 1) {
    const value = anyJson(next, 4);
    const text = printJson(value);
    assert.equal(printJson(parseJson(text)), text);
    assert.equal(printJson(parseJson(printJson(value, 2))), text);
    const decoded = decode(encode(value));
    assert.equal(printJson(decoded.value), text);
    assert.equal(decoded.exact, true);
  }
});

test("msgpack of flytekit is read", () => {
  const bytes =
    "hqVpbm5lcoOkbmFtZaFxpndlaWdodMs/+AAAAAAAAKR0YWdzkKVjb3VudM8AIAAAAAAAAaVyYXRpb8Cib27DpXRhYmxlgKRtYW55kA==";
  const decoded = decode(fromBase64(bytes));
  assert.equal(
    printJson(decoded.value),
    '{"inner":{"name":"q","weight":1.5,"tags":[]},"count":9007199254740993,"ratio":null,"on":true,"table":{},"many":[]}',
  );
  assert.equal(base64(encode(decoded.value)), bytes);
});

test("long texts, lists and objects have their lengths in msgpack", () => {
  for (const size of [15, 16, 31, 32, 255, 256, 65535, 65536]) {
    const list = Array.from({ length: size }, (_, index) => BigInt(index));
    const object = Object.fromEntries(list.map((item) => [`k${item}`, item]));
    for (const value of ["ä".repeat(size), list, object]) {
      assert.equal(printJson(decode(encode(value)).value), printJson(value));
    }
  }
});

test("msgpack that JSON lacks is marked, broken msgpack refused", () => {
  assert.deepEqual(decode(new Uint8Array([0xc4, 2, 1, 2])), { value: "bytes:AQI=", exact: false });
  assert.deepEqual(decode(new Uint8Array([0xd4, 5, 1])), { value: "extension:BQE=", exact: false });
  assert.equal(printJson(decode(new Uint8Array([0x81, 7, 0xc0])).value), '{"7":null}');
  assert.equal(decode(new Uint8Array([0x81, 7, 0xc0])).exact, false);
  for (const bytes of [
    [],
    [0xd9],
    [0xd9, 5, 65],
    [0xc1],
    [1, 2],
    [0xdd, 255, 255, 255, 255],
    new Array(300).fill(0x91),
  ]) {
    assert.throws(() => decode(new Uint8Array(bytes)), RangeError);
  }
  assert.throws(() => encode(2n ** 64n), RangeError);
  assert.throws(() => encode(-(2n ** 63n) - 1n), RangeError);
});

test("a Struct holds doubles only", () => {
  assert.equal(
    printJson(fromStruct(JSON.parse('{"a": 3, "b": 1.5, "c": 1152921504606846976}'))),
    '{"a":3,"b":1.5,"c":1152921504606846976}',
  );
  assert.equal(lossyInStruct(parseJson('{"a": [1, 9007199254740993]}')), "value.a[1]");
  assert.equal(lossyInStruct(parseJson('{"a": [1, 9007199254740992, 1.5]}')), "");
  assert.equal(lossyInStruct(parseJson("NaN")), "value");
  assert.equal(JSON.stringify(toStruct(parseJson('{"__proto__": [3, 1.5, null]}'))), '{"__proto__":[3,1.5,null]}');
});

test("values print as Python", () => {
  assert.equal(
    printPython(parseJson(String.raw`{"a": [true, null, 3, 3.0, NaN], "b\"": "x\ny'"}`)),
    String.raw`{"a": [True, None, 3, 3.0, float("NaN")], "b\"": "x\ny'"}`,
  );
});
