import assert from "node:assert/strict";
import { test } from "node:test";
import { fullTime, relativeTime, shortTime } from "../src/model/clock.ts";
import { rank, score } from "../src/model/match.ts";
import { barHeight } from "../src/ui/Bars.tsx";
import { isWebAddress } from "../src/ui/Fields.tsx";
import { stepKey } from "../src/ui/focus.ts";
import { rangeOf } from "../src/ui/window.ts";

const NOW = Date.UTC(2026, 10, 30, 12, 0, 0);

test("times are as short as the present allows", () => {
  assert.equal(shortTime(NOW - 1000, "utc", NOW), "11:59:59");
  assert.equal(shortTime(Date.UTC(2026, 0, 2, 3, 4), "utc", NOW), "2 Jan 03:04");
  assert.equal(shortTime(Date.UTC(2025, 0, 2, 3, 4), "utc", NOW), "2 Jan 2025 03:04");
  assert.equal(fullTime(NOW, "utc"), "2026-11-30 12:00:00 UTC");
  assert.match(fullTime(NOW, "local"), /^2026-1[12]-\d\d \d\d:\d\d:00 UTC[+-]\d\d:\d\d$/);
});

test("relative times", () => {
  assert.equal(relativeTime(NOW - 500, NOW), "now");
  assert.equal(relativeTime(NOW - 61_000, NOW), "1m ago");
  assert.equal(relativeTime(NOW + 2 * 3_600_000, NOW), "in 2h");
  assert.equal(relativeTime(NOW - 400 * 86_400_000, NOW), "1y ago");
});

test("names are ranked by how they fit", () => {
  const found = rank(["pretrain.main", "train.main", "t.r.a.i.n", "other", "a.train"], "train", (one) => one);
  assert.deepEqual(found, ["train.main", "a.train", "pretrain.main", "t.r.a.i.n"]);
  assert.equal(score("abc", "x"), null);
});

test("a window holds what is seen, and some more", () => {
  assert.deepEqual(rangeOf(0, 900, 10_000, 36), { start: 0, end: 37 });
  const middle = rangeOf(36_000, 900, 10_000, 36);
  assert.ok(middle.start <= 1000 && middle.end >= 1025 && middle.end - middle.start < 60);
  assert.equal(rangeOf(1e9, 900, 100, 36).end, 100);
  assert.deepEqual(rangeOf(-5000, 900, 100, 36), { start: 0, end: 12 });
});

test("links from data are http and https alone", () => {
  for (const good of ["http://a", "https://a/b?c#d"]) assert.ok(isWebAddress(good), good);
  for (const bad of ["javascript:alert(1)", "JAVASCRIPT:x", "data:text/html,x", "//a", "/a", "ftp://a", "", "s3://b/k"])
    assert.ok(!isWebAddress(bad), bad);
});

test("keys move within a list", () => {
  const key = (name: string) => ({ key: name, altKey: false, ctrlKey: false, metaKey: false }) as KeyboardEvent;
  assert.equal(stepKey(key("ArrowDown"), 2, 3), 2);
  assert.equal(stepKey(key("ArrowDown"), 2, 3, { wrap: true }), 0);
  assert.equal(stepKey(key("ArrowLeft"), 0, 3, { horizontal: true }), 2);
  assert.equal(stepKey(key("End"), 0, 3), 2);
  assert.equal(stepKey(key("a"), 0, 3), null);
  assert.equal(stepKey(key("End"), 0, 0), null);
});

test("short runs keep a bar that can be seen", () => {
  assert.equal(barHeight(100, 100), 1);
  assert.ok(barHeight(0, 100) > 0.05);
  assert.ok(barHeight(0, 0) > 0);
});
