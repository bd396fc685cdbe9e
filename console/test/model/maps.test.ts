import assert from "node:assert/strict";
import { test } from "node:test";
import { histogram, mapIndices, sortedIndices } from "../../src/model/maps.ts";

const resources = [
  { index: 2, retry_attempt: 0, phase: "SUCCEEDED" as const, custom_info: { started_at: 10, ended_at: 12.5 } as never },
  { index: 0, retry_attempt: 0, phase: "RETRYABLE_FAILED" as const },
  {
    index: 0,
    retry_attempt: 1,
    phase: "FAILED" as const,
    custom_info: { started_at: 10, ended_at: 11, error: "  File x\nValueError: x\n" } as never,
  },
  { index: 1, retry_attempt: 0, phase: "UNDEFINED" as const },
];

test("an index is its last attempt, and without a phase it has not started", () => {
  const indices = mapIndices(resources);
  assert.deepEqual(
    indices.map((one) => [one.index, one.attempt, one.phase]),
    [
      [0, 1, "FAILED"],
      [1, 0, "NOT_STARTED"],
      [2, 0, "SUCCEEDED"],
    ],
  );
  assert.deepEqual(
    indices.map((one) => one.durationMs),
    [1000, undefined, 2500],
  );
  assert.equal(indices[0]?.error, "ValueError: x");
});

test("indices are sorted, chosen by phase, and found", () => {
  const indices = mapIndices(resources);
  const shown = (...args: [Parameters<typeof sortedIndices>[1], string[], string]) =>
    sortedIndices(indices, args[0], new Set(args[1]) as never, args[2]).map((one) => one.index);
  assert.deepEqual(shown("index", [], ""), [0, 1, 2]);
  assert.deepEqual(shown("failed", [], ""), [0, 1, 2]);
  assert.deepEqual(shown("slow", [], ""), [2, 0, 1]);
  assert.deepEqual(shown("index", ["SUCCEEDED"], ""), [2]);
  assert.deepEqual(shown("index", [], "2"), [2]);
  assert.deepEqual(shown("index", [], "valueerror"), [0]);
});

test("a histogram counts every duration once", () => {
  assert.deepEqual(histogram([], 10), []);
  assert.deepEqual(histogram([5, 5], 10), [{ fromMs: 5, toMs: 6, count: 2 }]);
  const bins = histogram([0, 1, 2, 9, 10], 5);
  assert.deepEqual(
    bins.map((bin) => bin.count),
    [2, 1, 0, 0, 2],
  );
});

test("100,000 indices are read and sorted within 1 s of CPU", (t) => {
  const many = Array.from({ length: 100_000 }, (_, index) => ({
    index,
    retry_attempt: 0,
    phase: index % 99 ? ("SUCCEEDED" as const) : ("FAILED" as const),
  }));
  const before = process.cpuUsage();
  const failed = sortedIndices(mapIndices(many), "failed", new Set(), "");
  const { user } = process.cpuUsage(before);
  t.diagnostic(`${(user / 1000).toFixed(0)} ms`);
  assert.equal(failed[0]?.phase, "FAILED");
  assert.ok(user < 1_000_000);
});
