import assert from "node:assert/strict";
import test from "node:test";
import { BARS, lastRuns, ranEntity, versionsByName } from "../src/model/lastRuns.ts";

function run(resourceType: string, name: string, workflow: string) {
  return { spec: { launch_plan: { resource_type: resourceType, name } }, closure: { workflow_id: { name: workflow } } };
}

test("an execution of a single task belongs to the task alone", () => {
  const task = run("TASK", "t.fit", ".flytegen.t.fit");
  assert.equal(ranEntity(task, "TASK"), "t.fit");
  assert.equal(ranEntity(task, "WORKFLOW"), undefined);
  assert.equal(ranEntity(task, "LAUNCH_PLAN"), undefined);
});

test("an execution of a launch plan belongs to the launch plan and its workflow", () => {
  const one = run("LAUNCH_PLAN", "nightly", "train");
  assert.deepEqual(
    [ranEntity(one, "WORKFLOW"), ranEntity(one, "LAUNCH_PLAN"), ranEntity(one, "TASK")],
    ["train", "nightly", undefined],
  );
  assert.equal(ranEntity({ spec: null, closure: null }, "WORKFLOW"), undefined);
});

test("runs are grouped by name, the newest first and not more than the bars", () => {
  const runs = Array.from({ length: BARS + 5 }, (_, index) => ({ ...run("LAUNCH_PLAN", "nightly", "train"), index }));
  const found = lastRuns([...runs, { ...run("LAUNCH_PLAN", "constructor", "__proto__"), index: 99 }], "WORKFLOW");
  assert.deepEqual(
    found.get("train")?.map((one) => one.index),
    runs.slice(0, BARS).map((one) => one.index),
  );
  assert.equal(found.get("__proto__")?.length, 1);
});

test("versions are grouped by name, the newest first", () => {
  const version = (name: string, text: string, created_at: string) => ({
    id: { name, version: text },
    closure: { created_at },
  });
  const found = versionsByName([
    version("a", "v1", "2026-01-01T00:00:00Z"),
    version("b", "v1", "2026-01-02T00:00:00Z"),
    version("a", "v2", "2026-01-03T00:00:00Z"),
  ]);
  assert.deepEqual(
    found.get("a")?.map((one) => one.id.version),
    ["v2", "v1"],
  );
});
