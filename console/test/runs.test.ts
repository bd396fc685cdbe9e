import assert from "node:assert/strict";
import { test } from "node:test";
import { asPhase } from "../src/model/phases.ts";
import { activeBeyond, arrange, causeLine, endedSince, NOTHING_SHOWN, type Run, takePage } from "../src/model/runs.ts";

function run(name: string, createdMs: number, phase = "SUCCEEDED"): Run {
  return {
    name,
    phase: asPhase(phase),
    createdMs,
    startedAt: null,
    ms: 1,
    entity: { kind: "workflow", name: "w", version: "v" },
    launchPlan: null,
    user: "",
    mode: "MANUAL",
    cause: "",
    archived: false,
  };
}

const names = (rows: readonly Run[]) => rows.map((one) => one.name).join("");

test("new rows appear above, and wait while the user is busy", () => {
  const known = new Map<string, Run>();
  const first = takePage(NOTHING_SHOWN, known, [run("b", 2), run("a", 1)], { whole: true, hold: false });
  assert.equal(names(first.rows), "ba");
  const page = [run("d", 4), run("c", 3), run("b", 2), run("a", 1)];
  const held = takePage(first, known, page, { whole: true, hold: true });
  assert.equal(names(held.rows), "ba");
  assert.equal(held.waiting, 2);
  assert.equal(names(arrange(held, known, new Set(), false).rows), "dcba");
});

test("a phase changes in place, also while the user is busy", () => {
  const known = new Map<string, Run>();
  const first = takePage(NOTHING_SHOWN, known, [run("a", 1, "RUNNING")], { whole: true, hold: false });
  const next = takePage(first, known, [run("a", 1, "FAILED")], { whole: true, hold: true });
  assert.equal(next.rows[0]?.phase, "FAILED");
  assert.deepEqual(names(endedSince(first.rows, next.rows)), "a");
});

test("an execution that its engine has not begun is open: it is read again, and its end is announced", () => {
  const known = new Map<string, Run>();
  const first = takePage(NOTHING_SHOWN, known, [run("b", 2), run("a", 1, "UNDEFINED")], { whole: true, hold: true });
  assert.deepEqual(activeBeyond(first.rows, 0, 10), ["a"]);
  const next = takePage(first, known, [run("a", 1, "SUCCEEDED")], { whole: false, hold: true });
  assert.deepEqual(names(endedSince(first.rows, next.rows)), "a");
});

test("rows that the filters select no more stay while the user is busy, and go afterwards", () => {
  const known = new Map<string, Run>();
  const first = takePage(NOTHING_SHOWN, known, [run("b", 2), run("a", 1)], { whole: true, hold: false });
  const held = takePage(first, known, [run("a", 1)], { whole: true, hold: true });
  assert.equal(names(held.rows), "ba");
  assert.deepEqual([...held.gone], ["b"]);
  const free = takePage(held, known, [run("a", 1)], { whole: true, hold: false });
  assert.equal(names(free.rows), "a");
  assert.equal(free.gone.size, 0);
});

test("rows of further pages stay where the first page moves on", () => {
  const known = new Map<string, Run>();
  takePage(NOTHING_SHOWN, known, [run("c", 3), run("b", 2)], { whole: false, hold: false });
  known.set("a", run("a", 1));
  const next = takePage(NOTHING_SHOWN, known, [run("d", 4), run("c", 3)], { whole: false, hold: false });
  assert.equal(names(next.rows), "dcba");
});

test("running rows beyond the first page are asked for by name, at most so many", () => {
  const rows = [
    run("a", 4, "RUNNING"),
    run("b", 3, "RUNNING"),
    run("c", 2),
    run("d", 1, "QUEUED"),
    run("e", 0, "RUNNING"),
  ];
  assert.deepEqual(activeBeyond(rows, 1, 2), ["b", "d"]);
});

test("the cause is the last line with text", () => {
  assert.equal(causeLine("Trace:\n  File x\nValueError: bad shape\n\n"), "ValueError: bad shape");
  assert.equal(causeLine("    x = 1 +\n        ^^^^\n"), "x = 1 +");
  assert.equal(causeLine(null), "");
});
