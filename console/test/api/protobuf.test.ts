import assert from "node:assert/strict";
import { test } from "node:test";
import { literalMapOf, literalOf } from "../../src/api/protobuf.ts";

// Serialized by flyteidl's Python package; the expected values are those of its JSON.
const STORED =
  "ChcKAmF0EhEKDwoNKgsIyOv3ywYQgOWadwoWCgNiaWcSDwoNCgsI/////////+//AQocCgVieXRlcxITChEaDwoEgaFhARIHbXNncGFjawoOCgVlbXB0eRIFEgAiAWgKIQoEZmlsZRIZChcSFQoJCgcKA2NzdhABGghzMzovL2IvawoVCgRoYWxmEg0KCwoJEQAAAAAAAOA/CikKBGxpc3QSIRIfCgQKAioAChcaFQoTCglfX3Byb3RvX18SBgoECgIIBwokCgRsb25nEhwKGgoYMhYI////////////ARCAtsqR/v////8BChQKA25hbhINCgsKCREAAAAAAAD4fwoMCgJubxIGCgQKAiAAChsKBnN0b3JlZBIRQg8KBnMzOi8vbxCAgICAgCAKOAoGc3RydWN0Ei4KLDoqCigKAWESIzIhCgkRAAAAAAAA8D8KAggACgMaAXgKCyoJCgcKAWISAiABCisKBXRhYmxlEiIKIEIeCgZzMzovL3QSFAoSCgcKAW4SAggBEgdwYXJxdWV0ChUKBHRleHQSDQoLCgkaB2dyw7bDn2UKIAoFdW5pb24SFwoVShMKBgoECgIIAxIJCAFaBQoDaW50Cg4KBHplcm8SBgoECgIIAA==";

const bytes = (text: string): Uint8Array => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const found = literalMapOf(bytes(STORED)).literals as Record<string, unknown>;

test("every kind of value has the form that REST sends", () => {
  const primitive = (value: unknown) => ({ scalar: { primitive: value } });
  assert.deepEqual(found.big, primitive({ integer: "-9007199254740993" }));
  assert.deepEqual(found.zero, primitive({ integer: "0" }));
  assert.deepEqual(found.half, primitive({ float_value: 0.5 }));
  assert.deepEqual(found.nan, primitive({ float_value: "NaN" }));
  assert.deepEqual(found.no, primitive({ boolean: false }));
  assert.deepEqual(found.text, primitive({ string_value: "größe" }));
  assert.deepEqual(found.at, primitive({ datetime: "2026-01-31T12:30:00.250Z" }));
  assert.deepEqual(found.long, primitive({ duration: "-1.500s" }));
  assert.deepEqual(found.empty, { collection: {} });
  assert.deepEqual(found.file, {
    scalar: { blob: { metadata: { type: { format: "csv", dimensionality: "MULTIPART" } }, uri: "s3://b/k" } },
  });
  assert.deepEqual(found.bytes, { scalar: { binary: { value: "gaFhAQ==", tag: "msgpack" } } });
  assert.deepEqual(found.union, {
    scalar: { union: { value: primitive({ integer: "3" }), type: { simple: "INTEGER", structure: { tag: "int" } } } },
  });
  assert.deepEqual(found.table, {
    scalar: {
      structured_dataset: {
        uri: "s3://t",
        metadata: { structured_dataset_type: { columns: [{ name: "n" }], format: "parquet" } },
      },
    },
  });
  assert.deepEqual(found.stored, { offloaded_metadata: { uri: "s3://o", size_bytes: "1099511627776" } });
  assert.equal(JSON.stringify(found.struct), '{"scalar":{"generic":{"a":[1,null,"x",{"b":true}]}}}');
});

test("a key of an object's own prototype is a key like others", () => {
  assert.equal(
    JSON.stringify(found.list),
    '{"collection":{"literals":[{"scalar":{"none_type":{}}},{"map":{"literals":{"__proto__":{"scalar":{"primitive":{"integer":"7"}}}}}}]}}',
  );
});

test("bytes that are no value are refused", () => {
  const whole = bytes(STORED);
  assert.throws(() => literalMapOf(whole.subarray(0, whole.length - 1)), /ends early/);
  assert.throws(() => literalOf(Uint8Array.of(0x0b)), /unknown wire type/);
  assert.throws(() => literalOf(Uint8Array.of(0xff)), /no end/);
});

test("nesting has a limit", () => {
  let nested = Uint8Array.of();
  for (let depth = 0; depth < 200; depth++) {
    const inner = Uint8Array.of(...lengthOf(nested), ...nested);
    const collection = Uint8Array.of(0x0a, ...inner);
    nested = Uint8Array.of(0x12, ...lengthOf(collection), ...collection);
  }
  assert.throws(() => literalOf(nested), /nested more than 100/);
});

test("random bytes are decoded or refused with an error, and never hang", () => {
  let seed = 1;
  for (let round = 0; round < 2000; round++) {
    const data = Uint8Array.from({ length: 40 }, () => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return seed >> 16;
    });
    try {
      literalOf(data);
    } catch (error) {
      assert.ok(error instanceof Error && error.message.length > 10);
    }
  }
});

function lengthOf({ length }: Uint8Array): number[] {
  const found: number[] = [];
  for (let left = length; ; left >>= 7) {
    if (left < 0x80) return [...found, left];
    found.push((left & 0x7f) | 0x80);
  }
}
