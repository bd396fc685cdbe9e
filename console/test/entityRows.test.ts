import assert from "node:assert/strict";
import test from "node:test";
import { entityRows, shownRows } from "../src/model/entityRows.ts";

const named = (name: string, state = "NAMED_ENTITY_ACTIVE") => ({ id: { name }, metadata: { state, description: "" } });
const version = (name: string, text: string, day: number) => ({
  id: { name, version: text },
  closure: { created_at: `2026-01-0${day}T00:00:00Z` },
});
const run = (workflow: string, day: number) => ({
  spec: { launch_plan: { resource_type: "LAUNCH_PLAN", name: workflow } },
  closure: { workflow_id: { name: workflow }, created_at: `2026-01-0${day}T00:00:00Z` },
});

const rows = entityRows(
  {
    names: [named("a"), named("b"), named("old", "NAMED_ENTITY_ARCHIVED"), named(".flytegen.t")],
    versions: { items: [version("b", "v1", 1), version("b", "v2", 2)], token: "more" },
    runs: [run("b", 5), run("b", 4), run("gone", 3)],
  },
  "WORKFLOW",
);

test("rows join names with versions and runs", () => {
  assert.deepEqual(
    rows.map((row) => [row.name, row.versions.map((one) => one.id.version), row.runs.length]),
    [
      ["a", [], 0],
      ["b", ["v2", "v1"], 2],
      ["old", [], 0],
    ],
  );
  assert.equal(rows[0]?.olderVersions, true);
});

test("lists that are not read yet leave rows with names alone", () => {
  const [row] = entityRows({ names: [named("a")], versions: undefined, runs: undefined }, "TASK");
  assert.deepEqual([row?.name, row?.versions, row?.runs, row?.olderVersions], ["a", [], [], false]);
});

test("archived names are shown alone, runs sort the newest first, and a text sorts by its match", () => {
  const names = (view: Parameters<typeof shownRows>[1]) => shownRows(rows, view).map((row) => row.name);
  assert.deepEqual(names({ text: "", archived: false, sort: "name" }), ["a", "b"]);
  assert.deepEqual(names({ text: "", archived: false, sort: "run" }), ["b", "a"]);
  assert.deepEqual(names({ text: "ol", archived: true, sort: "name" }), ["old"]);
  assert.deepEqual(names({ text: "ol", archived: false, sort: "name" }), []);
});
