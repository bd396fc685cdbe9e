import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDatetime, parseDuration, showDatetime, showDuration } from "../../src/api/instants.ts";

process.env.TZ = "America/New_York";

test("datetimes are read in their zone", () => {
  const cases: Array<[string, "utc" | "local", string | undefined]> = [
    ["2026-01-02", "utc", "2026-01-02T00:00:00Z"],
    ["2026-01-02", "local", "2026-01-02T05:00:00Z"],
    ["2026-07-02 12:30", "local", "2026-07-02T16:30:00Z"],
    ["2026-07-02 12:30 UTC", "local", "2026-07-02T12:30:00Z"],
    ["2026-01-02T03:04:05.678900Z", "utc", "2026-01-02T03:04:05.6789Z"],
    ["2026-01-02 03:04:05,123456789", "utc", "2026-01-02T03:04:05.123456789Z"],
    ["2026-01-02T03:04:05+02:00", "utc", "2026-01-02T01:04:05Z"],
    ["2026-01-02 03:04 -0530", "utc", "2026-01-02T08:34:00Z"],
    ["0001-01-01T00:00:00Z", "utc", "0001-01-01T00:00:00Z"],
    ["9999-12-31T23:59:59Z", "utc", "9999-12-31T23:59:59Z"],
    ["2024-02-29", "utc", "2024-02-29T00:00:00Z"],
    ["2026-02-29", "utc", undefined],
    ["2026-13-01", "utc", undefined],
    ["2026-01-02 24:00", "utc", undefined],
    ["0001-01-01T00:00:00+05:00", "utc", undefined],
    ["0000-01-01", "utc", undefined],
    ["tomorrow", "utc", undefined],
    ["", "utc", undefined],
  ];
  for (const [text, zone, expected] of cases) assert.equal(parseDatetime(text, zone), expected, `${text} ${zone}`);
});

test("an instant shown in a zone reads back as itself", () => {
  for (const instant of [
    "2026-01-02T03:04:05.6789Z",
    "2026-07-02T03:04:05Z",
    "0001-01-01T00:00:00Z",
    "1969-12-31T23:59:59.5Z",
  ]) {
    assert.equal(parseDatetime(showDatetime(instant, "utc"), "local"), instant);
  }
  assert.equal(showDatetime("2026-07-02T03:04:05Z", "local"), "2026-07-01 23:04:05 -04:00");
  assert.equal(parseDatetime("2026-07-01 23:04:05 -04:00", "utc"), "2026-07-02T03:04:05Z");
});

test("durations are read as words and ISO 8601", () => {
  const cases: Array<[string, string | undefined]> = [
    ["1h 2m", "3720s"],
    ["1h2m3.5s", "3723.5s"],
    ["1.5 days", "129600s"],
    ["250ms", "0.25s"],
    ["1ns", "0.000000001s"],
    ["-90s", "-90s"],
    ["PT1H2M", "3720s"],
    ["P1DT0.5S", "86400.5s"],
    ["P1W", "604800s"],
    ["0s", "0s"],
    ["-0s", "0s"],
    ["315576000000s", "315576000000s"],
    ["315576000001s", undefined],
    ["0.5ns", undefined],
    ["5", undefined],
    ["P", undefined],
    ["PT", undefined],
    ["1 fortnight", undefined],
    ["", undefined],
    ["h", undefined],
  ];
  for (const [text, expected] of cases) assert.equal(parseDuration(text), expected, text);
});

test("a duration shown reads back as itself", () => {
  for (const duration of ["0s", "3720.5s", "-0.000000001s", "59s", "60s", "86400s", "315576000000s", "3602.500s"]) {
    assert.equal(parseDuration(showDuration(duration)), duration.replace("3602.500", "3602.5"));
  }
  assert.equal(showDuration("3720.5s"), "1h 2m 0.5s");
});
