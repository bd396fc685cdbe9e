import assert from "node:assert/strict";
import test from "node:test";
import { type GridCell, gridRows, ROWS_MAX, share, verdictOf } from "../src/model/grid.ts";

function cell(phase: string, seconds?: number, cached = false): GridCell {
  return { phase, seconds, cached };
}
const good = (seconds: number) => cell("SUCCEEDED", seconds);
const bad = cell("FAILED", 1);

test("a node fails since the first run of its last row of failures", () => {
  assert.deepEqual(verdictOf([good(1), bad, good(1), bad, undefined, bad]), { kind: "failing", since: 3, runs: 2 });
  assert.deepEqual(verdictOf([bad, bad]), { kind: "failing", since: 0, runs: 2 });
});

test("runs in which the node did not run or still runs are passed over", () => {
  assert.equal(verdictOf([bad, undefined, cell("RUNNING"), cell("SKIPPED")]).kind, "failing");
  assert.equal(verdictOf([]).kind, "steady");
});

test("failures before the last success make a node flaky", () => {
  assert.deepEqual(verdictOf([bad, good(1), bad, good(1)]), { kind: "flaky", failed: 2, of: 4 });
});

test("a node is slower since the run from which on all took clearly longer", () => {
  const cells = [good(2), good(2.2), good(1.9), good(6), good(5.8), good(6.4)];
  assert.deepEqual(verdictOf(cells), { kind: "slower", since: 3, factor: 3 });
  assert.equal(verdictOf([good(2), good(2), good(2), good(6), good(2), good(6)]).kind, "steady");
  assert.equal(verdictOf([good(0.01), good(0.01), good(0.01), good(0.1), good(0.1), good(0.1)]).kind, "steady");
});

test("cached runs say nothing about a slow-down", () => {
  const cached = cell("SUCCEEDED", 0, true);
  assert.equal(verdictOf([cached, cached, cached, good(6), good(6), good(6)]).kind, "steady");
});

test("rows follow the order of the workflow; nodes of older versions come after, ends are left out", () => {
  const run = (name: string, ids: string[]) => ({ name, nodes: new Map(ids.map((id) => [id, good(1)])) });
  const rows = gridRows(
    [run("a", ["start-node", "old", "n0"]), { name: "b", nodes: undefined }, run("c", ["n1", "n0"])],
    ["start-node", "n0", "n1", "end-node"],
  );
  assert.deepEqual(
    rows.map((row) => row.id),
    ["n0", "n1", "old"],
  );
  assert.deepEqual(
    rows[1]?.cells.map((one) => one?.phase),
    [undefined, undefined, "SUCCEEDED"],
  );
});

test("of very many nodes those that fail are kept", () => {
  const ids = Array.from({ length: ROWS_MAX + 10 }, (_, index) => `n${index}`);
  const nodes = new Map(ids.map((id, index) => [id, index === ids.length - 1 ? bad : good(1)]));
  const rows = gridRows([{ name: "a", nodes }]);
  assert.equal(rows.length, ROWS_MAX);
  assert.equal(rows[0]?.id, ids.at(-1));
});

test("bars are shares of the longest run", () => {
  const row = [good(1), undefined, good(4), cell("RUNNING")];
  assert.deepEqual(
    row.map((one) => share(one, row)),
    [0.25, 0, 1, 0],
  );
  assert.equal(share(undefined, []), 0);
});
