import assert from "node:assert/strict";
import { test } from "node:test";
import { durationMs, durationText, timeMs } from "../../src/model/times.ts";

test("times keep their fractions", () => {
  assert.equal(timeMs("1970-01-01T00:00:01Z"), 1000);
  assert.equal(timeMs("1970-01-01T00:00:00.123456Z"), 123.456);
  for (const text of ["", null, undefined, "yesterday"]) assert.equal(timeMs(text), undefined);
});

test("durations are numbers of seconds", () => {
  assert.equal(durationMs("1.5s"), 1500);
  assert.equal(durationMs("-2s"), -2000);
  for (const text of ["", null, "2m", "s"]) assert.equal(durationMs(text), undefined);
});

test("durations are short for people", () => {
  const cases: [number, string][] = [
    [0, "0 ms"],
    [999, "999 ms"],
    [3400, "3.4s"],
    [9960, "10s"],
    [58_000, "58s"],
    [59_600, "1m"],
    [250_000, "4m 10s"],
    [3_600_000, "1h"],
    [7_500_000, "2h 5m"],
    [273_600_000, "3d 4h"],
    [-1500, "-1.5s"],
  ];
  for (const [ms, text] of cases) assert.equal(durationText(ms), text);
});
