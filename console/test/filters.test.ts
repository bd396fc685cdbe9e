import assert from "node:assert/strict";
import { test } from "node:test";
import { apiFilters, filtersText, oldFilters, parseFilters, secondsOf, timeOf, withToken } from "../src/api/filters.ts";

const NOW = Date.UTC(2026, 10, 30, 12, 0, 0);

function api(text: string, me?: string): string {
  const { filters, problems } = apiFilters(parseFilters(text), NOW, me);
  return problems.length > 0 ? `! ${problems.join(" ")}` : filters;
}

const WRITTEN: [string, string][] = [
  ["", ""],
  ["phase:failed", "value_in(phase,FAILED;FAILING;TIMED_OUT)"],
  ["phase:queued", "eq(phase,QUEUED)"],
  ["phase:queued,unknown", "value_in(phase,QUEUED;UNDEFINED)"],
  ["-phase:succeeded", "ne(phase,SUCCEEDED)"],
  ["workflow:train", "contains(workflow.name,train)"],
  ["workflow:=train.main", "eq(workflow.name,train.main)"],
  ["-workflow:train", "not_like(workflow.name,%train%)"],
  ["workflow:=a,=b", "value_in(workflow.name,a;b)"],
  ["train", "contains(workflow.name,train)"],
  ["a9f03bc", "contains(execution_name,a9f03bc)"],
  ['"my flow"', "contains(workflow.name,my flow)"],
  ['version:"v1/2 x"', "eq(workflow.version,v1/2 x)"],
  ["duration:>5m", "gt(duration,300s)"],
  ["duration:2h..3h", "gte(duration,7200s)+lt(duration,10800s)"],
  ["after:24h", "gte(created_at,2026-11-29T12:00:00.000Z)"],
  ["before:2026-11-30T10:00:00Z", "lt(created_at,2026-11-30T10:00:00.000Z)"],
  ["mode:scheduled", "eq(mode,1)"],
  ["archived:all", "value_in(state,0;1)"],
  ["tag:exp1 label:team=ml", "eq(admin_tag.name,exp1)+eq(execution_tag.key,team)+eq(execution_tag.value,ml)"],
  ["phase:failed lp:nightly", "value_in(phase,FAILED;FAILING;TIMED_OUT)+contains(launch_plan.name,nightly)"],
];

for (const [text, expected] of WRITTEN)
  test(`asks for ${text || "everything"}`, () => assert.equal(api(text), expected));

test("refuses what the API cannot express, before it is asked", () => {
  for (const text of [
    "version:a+b",
    "version:a;b",
    "duration:long",
    "after:soon",
    "mode:x",
    "user:me",
    'workflow:"a,b"',
  ])
    assert.match(api(text), /^! /, text);
  assert.equal(api("user:me", "ann"), "eq(user,ann)");
});

test("text and tokens are one and the same", () => {
  for (const [text] of WRITTEN) {
    const tokens = parseFilters(text);
    assert.deepEqual(parseFilters(filtersText(tokens)), tokens, text);
  }
});

test("a further value joins, another name replaces", () => {
  const both = withToken(parseFilters("phase:failed"), { key: "phase", values: ["aborted"], exclude: false });
  assert.equal(filtersText(both), "phase:failed,aborted");
  const name = withToken(parseFilters("workflow:a"), { key: "workflow", values: ["=b"], exclude: false });
  assert.equal(filtersText(name), "workflow:=b");
  const other = withToken(parseFilters("phase:failed"), { key: "phase", values: ["failed"], exclude: true });
  assert.equal(filtersText(other), "phase:failed -phase:failed");
});

test("flyteconsole's keys are read", () => {
  const read = (query: string) => {
    const tokens = oldFilters(new URLSearchParams(query), NOW);
    return tokens && filtersText(tokens);
  };
  assert.equal(read("status=queued;running&version=v+1"), 'phase:queued,running version:"v 1"');
  assert.equal(read("duration=all&fromExecutionNav=true"), "");
  assert.equal(read("duration=2to3hours&startTime=yesterday"), "duration:2h..3h after:yesterday before:today");
  assert.equal(read("startTime=lastMonth"), "after:2026-10-01 before:2026-11-01");
  assert.equal(read("startTime=lastYear"), "after:2025-01-01 before:2026-01-01");
  assert.equal(read("q=phase:failed"), null);
  for (const word of ["all", "lastHour", "today", "thisWeek", "thisMonth", "thisYear"])
    assert.equal(apiFilters(oldFilters(new URLSearchParams(`startTime=${word}`), NOW) ?? [], NOW).problems.length, 0);
});

test("durations and times", () => {
  assert.equal(secondsOf("1h30m"), 5400);
  assert.equal(secondsOf("90"), 90);
  assert.equal(secondsOf("x"), undefined);
  assert.equal(timeOf("7d", NOW), NOW - 7 * 86_400_000);
  assert.equal(timeOf("nothing", NOW), undefined);
});
