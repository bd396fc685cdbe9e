import assert from "node:assert/strict";
import test from "node:test";
import {
  byName,
  cronTranslator,
  inWords,
  needsTranslator,
  nextSlot,
  optionsInWords,
  reasonOf,
  type ScheduleState,
  scheduleOf,
  statusOf,
} from "../src/model/schedule.ts";

function state(given: Partial<ScheduleState> = {}): ScheduleState {
  return {
    project: "p",
    domain: "d",
    name: "nightly",
    version: "v1",
    expression: "30 2 * * *",
    zone: "Etc/UTC",
    kickoff_input: "",
    active: true,
    paused: null,
    last: null,
    next: ["2026-11-30T02:30:00Z"],
    never: false,
    counts: { launched: 0, missed: 0, skipped: 0, failed: 0 },
    problem: null,
    options: {
      overlap: "allow",
      catch_up: "all",
      catch_up_seconds: null,
      jitter_seconds: 0,
      dst: "skip-gap,twice",
      pause_after: 0,
    },
    warnings: [],
    activated_by: "",
    ...given,
  };
}

function plan(schedule: object, annotations: Record<string, string> = {}) {
  return { spec: { entity_metadata: { schedule }, annotations: { values: annotations } } };
}

test("the schedule of a launch plan is read from each of its forms", () => {
  assert.equal(scheduleOf({}), null);
  assert.equal(scheduleOf({ spec: { entity_metadata: { schedule: null } } }), null);
  assert.deepEqual(scheduleOf(plan({ cron_schedule: { schedule: "@daily" }, kickoff_time_input_arg: "t" })), {
    expression: "@daily",
    zone: "",
    kickoffInput: "t",
  });
  assert.equal(scheduleOf(plan({ cron_expression: "0 3 * * ? *" }))?.expression, "0 3 * * ? *");
  assert.equal(scheduleOf(plan({ rate: { value: 5, unit: "HOUR" } }))?.expression, "rate(5 HOUR)");
});

test("the time zone comes from the prefix of the expression, else from the annotation", () => {
  const annotations = { "schedule.flyte.org/timezone": "Europe/Berlin" };
  assert.equal(scheduleOf(plan({ cron_schedule: { schedule: "0 3 * * *" } }, annotations))?.zone, "Europe/Berlin");
  const both = plan({ cron_schedule: { schedule: "CRON_TZ=Asia/Tokyo 0 3 * * *" } }, annotations);
  assert.equal(scheduleOf(both)?.zone, "Asia/Tokyo");
});

test("expressions are put in words", async () => {
  const translate = await cronTranslator();
  const words = {
    "30 2 * * 1-5": "At 02:30, Monday through Friday",
    "* * * * *": "Every minute",
    "CRON_TZ=Europe/Berlin 0 3 * * *": "At 03:00",
    "@daily": "At 00:00",
    "@every 1h30m0s": "Every 1 h 30 min",
    "@every soon": "@every soon",
    "rate(1 DAY)": "Every day",
    "rate(5 MINUTE)": "Every 5 minutes",
    "0 3 * * ? *": "0 3 * * ? *",
    "61 99 * * *": "61 99 * * *",
    "<script>alert(1)</script>": "<script>alert(1)</script>",
  };
  for (const [expression, text] of Object.entries(words)) assert.equal(inWords(expression, translate), text);
});

test("without the translator an expression is shown as it is, but for rates", () => {
  assert.equal(inWords("30 2 * * 1-5"), "30 2 * * 1-5");
  assert.equal(inWords("rate(2 HOUR)"), "Every 2 hours");
  assert.deepEqual(["rate(2 HOUR)", "@every 5m", "@daily"].map(needsTranslator), [false, false, true]);
});

test("the status names a pause before trouble, and trouble only while the schedule is active", () => {
  const problem = { code: 3, message: "rows is required", since: null };
  const paused = { reason: "broken data", by: "ann", at: null };
  assert.equal(statusOf(state()), "running");
  assert.equal(statusOf(state({ problem })), "trouble");
  assert.equal(statusOf(state({ problem, active: false })), "off");
  assert.equal(statusOf(state({ never: true })), "never");
  assert.equal(statusOf(state({ problem, paused, active: false })), "paused");
  assert.equal(reasonOf(state({ problem, paused, active: false })), "Paused by ann: broken data");
  assert.equal(reasonOf(state({ paused: { reason: "", by: "", at: null } })), "Paused");
  assert.equal(reasonOf(state({ problem })), "rows is required");
  assert.equal(reasonOf(state()), "");
});

test("only an active schedule has a next slot", () => {
  assert.equal(nextSlot(state()), "2026-11-30T02:30:00Z");
  assert.equal(nextSlot(state({ active: false })), undefined);
  assert.equal(nextSlot(undefined), undefined);
});

test("of several versions the active one counts, then the paused one, then the last", () => {
  const paused = { reason: "", by: "", at: null };
  const one = byName([state({ active: true, version: "a" }), state({ active: false, version: "b", paused })]);
  assert.equal(one.get("nightly")?.version, "a");
  const two = byName([state({ active: false, version: "a", paused }), state({ active: false, version: "b" })]);
  assert.equal(two.get("nightly")?.version, "a");
  const three = byName([state({ active: false, version: "a" }), state({ active: false, version: "b" })]);
  assert.equal(three.get("nightly")?.version, "b");
});

test("options are put in words; clock changes only where the zone has them", () => {
  const plain = Object.fromEntries(optionsInWords(state()));
  assert.deepEqual(plain, { "While a run is active": "launch beside it", "Missed runs": "launch all" });
  const options = {
    overlap: "skip",
    catch_up: "all",
    catch_up_seconds: 21600,
    jitter_seconds: 90,
    dst: "move-gap,once",
    pause_after: 1,
  };
  assert.deepEqual(Object.fromEntries(optionsInWords(state({ options, zone: "Europe/Berlin" }))), {
    "While a run is active": "skip the run",
    "Missed runs": "launch those of the last 6 hours",
    "Delay of launches": "up to 90 s",
    "Clock changes": "a time that is skipped runs at the end of the gap, a repeated time runs once",
    "Pauses itself after": "1 failed launch",
  });
});
