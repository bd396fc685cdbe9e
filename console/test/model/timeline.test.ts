import assert from "node:assert/strict";
import { test } from "node:test";
import type { Span } from "../../src/model/api.ts";
import {
  attemptKey,
  attemptsFromSpans,
  axisMarks,
  fraction,
  rangeOf,
  segments,
  ticks,
} from "../../src/model/timeline.ts";
import { ROOT, type RunNode, RunTree } from "../../src/model/tree.ts";
import { at, atMs, type RunOptions, run } from "./builders.ts";
import { randomOf } from "./random.ts";

function node(phase: Parameters<typeof run>[1], options: RunOptions): RunNode {
  const tree = new RunTree({ project: "p", domain: "d", name: "e" });
  tree.merge(ROOT, [run("n0", phase, options)]);
  return tree.children(undefined)[0] as RunNode;
}

function seconds(made: ReturnType<typeof segments>): [string, string, number, number, number | undefined][] {
  return made.map((one) => [
    one.kind,
    one.phase,
    (one.startMs - atMs(0)) / 1000,
    (one.endMs - atMs(0)) / 1000,
    one.attempt,
  ]);
}

test("a node without attempts was queued and ran", () => {
  const made = segments(node("SUCCEEDED", { created: 1, started: 3, seconds: 4 }), undefined, atMs(99));
  assert.deepEqual(seconds(made), [
    ["queued", "QUEUED", 1, 3, undefined],
    ["ran", "SUCCEEDED", 3, 7, undefined],
  ]);
});

test("a running node lasts until now, and never less than nothing", () => {
  const running = node("RUNNING", { created: 1, started: 3 });
  assert.deepEqual(seconds(segments(running, undefined, atMs(10))), [
    ["queued", "QUEUED", 1, 3, undefined],
    ["ran", "RUNNING", 3, 10, undefined],
  ]);
  for (const one of segments(running, undefined, atMs(-3600))) assert.ok(one.endMs >= one.startMs);
});

test("a queued node has no part that ran", () => {
  assert.deepEqual(seconds(segments(node("QUEUED", { created: 1 }), undefined, atMs(5))), [
    ["queued", "QUEUED", 1, 5, undefined],
  ]);
});

test("a node that has not started has no bar", () => {
  const tree = new RunTree({ project: "p", domain: "d", name: "e" });
  assert.deepEqual(tree.children(undefined), []);
});

test("attempts are queued and run one after the other", () => {
  const failed = node("FAILED", { created: 0, started: 0, seconds: 20 });
  const attempts = [
    { attempt: 0, createdMs: atMs(0), startedMs: atMs(2), endedMs: atMs(8), phase: "RETRYABLE_FAILED" as const },
    { attempt: 1, createdMs: atMs(8), startedMs: atMs(11), endedMs: atMs(20), phase: "FAILED" as const },
  ];
  assert.deepEqual(seconds(segments(failed, attempts, atMs(99))), [
    ["queued", "QUEUED", 0, 2, 0],
    ["ran", "RETRYABLE_FAILED", 2, 8, 0],
    ["queued", "QUEUED", 8, 11, 1],
    ["ran", "FAILED", 11, 20, 1],
  ]);
});

test("segments of random attempts follow each other inside the node's time", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = randomOf(seed);
    const failed = node(random() < 0.5 ? "FAILED" : "RUNNING", { created: 0, started: 1, seconds: 10 });
    const attempts = Array.from({ length: Math.floor(random() * 5) }, (_, attempt) => ({
      attempt,
      createdMs: atMs(random() * 40 - 10),
      startedMs: random() < 0.3 ? undefined : atMs(random() * 40 - 10),
      endedMs: random() < 0.3 ? undefined : atMs(random() * 40 - 10),
      phase: "FAILED" as const,
    }));
    const made = segments(failed, attempts, atMs(random() * 30 - 5));
    for (let index = 0; index < made.length; index++) {
      const one = made[index] as (typeof made)[number];
      assert.ok(one.startMs <= one.endMs);
      if (index > 0) assert.ok((made[index - 1] as typeof one).endMs <= one.startMs);
    }
  }
});

test("attempts are read from spans", () => {
  const execution_id = { project: "p", domain: "d", name: "e" };
  const task = (node_id: string, retry_attempt: number) => ({
    retry_attempt,
    node_execution_id: { node_id, execution_id },
  });
  const root: Span = {
    spans: [
      { operation_id: "WORKFLOW_SETUP", start_time: at(0), end_time: at(1) },
      {
        node_id: { node_id: "n0" },
        spans: [
          {
            task_id: task("n0", 1),
            start_time: at(5),
            end_time: at(9),
            spans: [{ operation_id: "TASK_RUNTIME", start_time: at(6), end_time: at(9) }],
          },
          { task_id: task("n0", 0), start_time: at(1), end_time: at(4), spans: [] },
        ],
      },
    ],
  };
  const attempts = attemptsFromSpans(root).get(attemptKey(execution_id, "n0"));
  assert.deepEqual(
    attempts?.map((one) => [one.attempt, one.createdMs, one.startedMs, one.endedMs]),
    [
      [0, atMs(1), undefined, atMs(4)],
      [1, atMs(5), atMs(6), atMs(9)],
    ],
  );
  assert.equal(attemptsFromSpans(undefined).size, 0);
});

test("the range holds every row, and is never empty", () => {
  const range = rangeOf([node("SUCCEEDED", { created: 5, started: 6, seconds: 10 })], atMs(7), atMs(8));
  assert.deepEqual(range, { startMs: atMs(5), endMs: atMs(16) });
  assert.deepEqual(rangeOf([], undefined, 5000), { startMs: 5000, endMs: 6000 });
});

test("ticks are round, inside the range, and few", () => {
  assert.deepEqual(ticks({ startMs: 0, endMs: 250_000 }, 0, 5), [0, 60_000, 120_000, 180_000, 240_000]);
  for (const span of [3, 900, 61_000, 3.6e6, 9e7, 4e9]) {
    for (const most of [2, 5, 9]) {
      const marks = ticks({ startMs: 17, endMs: 17 + span }, 17, most);
      assert.ok(marks.length >= 1 && marks.length <= most + 1, `${span}: ${marks.length}`);
      assert.ok(marks.every((mark) => mark >= 0 && mark <= span));
    }
  }
});

test("the text of a mark leaves the room that the last one needs", () => {
  const texts = (span: number) => axisMarks({ startMs: 0, endMs: span }, 0, 6).map((mark) => mark.text);
  assert.deepEqual(texts(1000), ["0s", "200 ms", "400 ms", "600 ms", "", "1.0s"]);
  assert.deepEqual(texts(2050), ["0s", "500 ms", "1.0s", "1.5s", "2.0s"]);
});

test("fractions stay between 0 and 1", () => {
  const range = { startMs: 10, endMs: 20 };
  assert.deepEqual(
    [5, 10, 15, 20, 25].map((ms) => fraction(range, ms)),
    [0, 0, 0.5, 1, 1],
  );
});
