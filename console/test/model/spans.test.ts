import assert from "node:assert/strict";
import { test } from "node:test";
import { operationsByNode, operationText } from "../../src/model/spans.ts";
import { attemptKey } from "../../src/model/timeline.ts";

const at = (seconds: number) => `2026-01-31T12:00:${String(seconds).padStart(2, "0")}Z`;
const operation = (operation_id: string, from: number, to: number) => ({
  operation_id,
  start_time: at(from),
  end_time: at(to),
});
const execution_id = { project: "p", domain: "d", name: "e" };
const node_id = { node_id: "n0", execution_id };
const attempt = (retry_attempt: number, spans: unknown[]) => ({
  task_id: { node_execution_id: node_id, retry_attempt },
  spans,
});
const root = {
  workflow_id: execution_id,
  spans: [
    operation("WORKFLOW_SETUP", 0, 1),
    {
      node_id,
      spans: [
        operation("NODE_SETUP", 2, 3),
        operation("NODE_TRANSITION", 1, 2),
        attempt(0, [operation("TASK_SETUP", 3, 4), operation("TASK_RUNTIME", 4, 6)]),
        operation("NODE_RESET", 6, 9),
        attempt(1, [operation("TASK_RUNTIME", 9, 11), { operation_id: "TASK_TEARDOWN", start_time: at(11) }]),
      ],
    },
  ],
};

test("operations belong to their node, in the order of their starts", () => {
  const found = operationsByNode(root as never);
  assert.deepEqual([...found.keys()], [attemptKey(execution_id, "n0")]);
  assert.deepEqual(
    found.get(attemptKey(execution_id, "n0"))?.map((one) => [one.id, one.attempt, one.lengthMs]),
    [
      ["NODE_TRANSITION", undefined, 1000],
      ["NODE_SETUP", undefined, 1000],
      ["TASK_SETUP", 0, 1000],
      ["TASK_RUNTIME", 0, 2000],
      ["NODE_RESET", undefined, 3000],
      ["TASK_RUNTIME", 1, 2000],
    ],
  );
  assert.equal(operationsByNode(null).size, 0);
});

test("an operation names its attempt where there are several", () => {
  const one = { id: "TASK_RUNTIME", attempt: 1, startMs: 0, lengthMs: 1 };
  assert.equal(operationText(one, 2), "Running, attempt 2");
  assert.equal(operationText({ ...one, attempt: 0 }, 1), "Running");
  assert.equal(operationText({ ...one, id: "NEW_STEP" }, 1), "new step");
});
