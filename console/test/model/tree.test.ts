import assert from "node:assert/strict";
import { test } from "node:test";
import { firstFailure, newestActive, type RowOptions, visibleRows } from "../../src/model/rows.ts";
import { ClosureIndex, inTopologicalOrder, mapName } from "../../src/model/spec.ts";
import { ROOT, type RunNode, RunTree } from "../../src/model/tree.ts";
import { at, branchNode, closure, run, taskNode, workflowNode } from "./builders.ts";
import { randomOf } from "./random.ts";

const EXECUTION = { project: "p", domain: "d", name: "e" };
const ALL: RowOptions = { filter: "all", search: "", isOpen: () => true };

function tree(): RunTree {
  return new RunTree(EXECUTION);
}

function keys(nodes: Iterable<RunNode>): string[] {
  return [...nodes].map((node) => node.key);
}

function child(one: RunTree, key: string): RunNode {
  const found = one.find(key);
  assert.ok(found, `${key} is in the tree`);
  return found;
}

test("nodes follow the workflow's order, with those that have not started", () => {
  const made = tree();
  made.setScope(ROOT, new ClosureIndex(closure([taskNode("n0", "a"), taskNode("n1", "b"), taskNode("n2", "c")])).root);
  made.merge(ROOT, [
    run("start-node", "SUCCEEDED"),
    run("n2", "RUNNING", { created: 1 }),
    run("n1", "SUCCEEDED", { created: 2 }),
  ]);
  const nodes = made.children(undefined);
  assert.deepEqual(
    nodes.map((node) => [node.name, node.phase]),
    [
      ["a", "NOT_STARTED"],
      ["b", "SUCCEEDED"],
      ["c", "RUNNING"],
    ],
  );
});

test("nodes without a workflow are in the order in which they were created", () => {
  const made = tree();
  made.merge(ROOT, [
    run("n9", "RUNNING", { created: 1 }),
    run("n1", "RUNNING", { created: 3 }),
    run("n5", "RUNNING", { created: 2 }),
  ]);
  assert.deepEqual(keys(made.children(undefined)), ["n9", "n5", "n1"]);
});

test("an older version of a node does not replace a newer one", () => {
  const made = tree();
  made.merge(ROOT, [run("n0", "SUCCEEDED", { updated: 5 })]);
  assert.equal(made.merge(ROOT, [run("n0", "RUNNING", { updated: 4 })]), false);
  assert.equal(child(made, "n0").phase, "SUCCEEDED");
  const version = made.version;
  assert.equal(made.merge(ROOT, [run("n0", "SUCCEEDED", { updated: 5 })]), false);
  assert.equal(made.version, version);
});

test("a sub-workflow's nodes come from its template", () => {
  const made = tree();
  const spec = closure([workflowNode("n0", "inner")], [], { inner: [taskNode("n0", "x"), taskNode("n1", "y")] });
  made.setScope(ROOT, new ClosureIndex(spec).root);
  made.merge(ROOT, [run("n0", "RUNNING", { parent: true })]);
  made.merge("n0", [run("n0-0-n0", "SUCCEEDED", { spec: "n0" })]);
  assert.deepEqual(
    made.children(child(made, "n0")).map((node) => [node.key, node.name, node.phase, node.depth]),
    [
      ["n0-0-n0", "x", "SUCCEEDED", 1],
      ["n0/n1", "y", "NOT_STARTED", 1],
    ].map(([key, ...rest]) => [key === "n0/n1" ? encodeURIComponent("n0/n1") : key, ...rest]),
  );
});

test("the arms of a branch that ended without them are skipped", () => {
  const made = tree();
  const branch = branchNode("n0", taskNode("n0-n0", "one"), taskNode("n0-n1", "two"));
  made.setScope(ROOT, new ClosureIndex(closure([branch])).root);
  made.merge(ROOT, [run("n0", "SUCCEEDED", { parent: true })]);
  made.merge("n0", [run("n0-0-n0-n1", "SUCCEEDED", { spec: "n0-n1" })]);
  assert.deepEqual(
    made.children(child(made, "n0")).map((node) => [node.name, node.phase]),
    [
      ["one", "SKIPPED"],
      ["two", "SUCCEEDED"],
    ],
  );
});

test("keys of child executions are paths, and their nodes belong to the child", () => {
  const made = tree();
  made.merge(ROOT, [run("n0", "RUNNING", { child: "e-child" }), run("n1", "RUNNING")]);
  made.setExecution("n0", { ...EXECUTION, name: "e-child" });
  made.merge("n0", [run("n0", "RUNNING", { parent: true })]);
  const inner = made.children(child(made, "n0"))[0] as RunNode;
  assert.equal(inner.key, "n0/e-child/n0");
  assert.equal(inner.execution.name, "e-child");
  made.merge(inner.key, [run("n0-0-n0", "RUNNING")]);
  const leaf = made.children(inner)[0] as RunNode;
  assert.equal(leaf.key, "n0/e-child/n0-0-n0");
  assert.equal(leaf.execution.name, "e-child");
});

test("executions of an eager task are rows with nodes of their own", () => {
  const made = tree();
  made.setScope(ROOT, new ClosureIndex(closure([taskNode("n0", "eager")], [], {}, ["eager"])).root);
  made.merge(ROOT, [run("n0", "RUNNING")]);
  assert.equal(child(made, "n0").kind, "eager");
  const launched = {
    execution: { ...EXECUTION, name: "x/y" },
    phase: "RUNNING" as const,
    target: undefined,
    createdMs: 1,
    startedMs: 1,
    endedMs: undefined,
  };
  made.setChildExecutions("n0", [launched]);
  const row = made.children(child(made, "n0"))[0] as RunNode;
  assert.equal(row.key, "n0/x%2Fy");
  made.merge(row.key, [run("n0", "RUNNING")]);
  assert.deepEqual(keys(made.children(row)), ["n0/x%2Fy/n0"]);
  assert.equal(made.children(row)[0]?.execution.name, "x/y");
});

test("a gate that runs is paused; a gate that sleeps is not", () => {
  const made = tree();
  const gate = { id: "n0", gate_node: { approve: { signal_id: "ok" } } };
  const sleep = { id: "n1", gate_node: { sleep: { duration: "5s" } } };
  made.setScope(ROOT, new ClosureIndex(closure([gate, sleep])).root);
  made.merge(ROOT, [run("n0", "RUNNING"), run("n1", "RUNNING")]);
  assert.deepEqual(
    made.children(undefined).map((node) => node.phase),
    ["PAUSED", "RUNNING"],
  );
});

test("the last update is the time for the next poll", () => {
  const made = tree();
  assert.equal(made.lastUpdate(ROOT), "");
  made.merge(ROOT, [run("n0", "RUNNING", { updated: 4 }), run("n1", "RUNNING", { updated: 9 })]);
  assert.equal(made.lastUpdate(ROOT), at(9));
});

test("topological order keeps the given order otherwise", () => {
  const node = (id: string, ...upstream: string[]) => ({ id, upstream });
  const ids = (nodes: { id: string }[]) => nodes.map((one) => one.id).join(" ");
  assert.equal(ids(inTopologicalOrder([node("c", "a"), node("a"), node("b")])), "a c b");
  assert.equal(ids(inTopologicalOrder([node("x", "y"), node("y", "x"), node("z")])), "z x y");
});

test("topological order of random graphs: every node once, after its upstream", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = randomOf(seed);
    const size = 1 + Math.floor(random() * 60);
    const rank = Array.from({ length: size }, () => random());
    const nodes = Array.from({ length: size }, (_, index) => ({
      id: `${index}`,
      upstream: Array.from({ length: 3 }, () => Math.floor(random() * size))
        .filter((other) => (rank[other] as number) < (rank[index] as number))
        .map(String),
    }));
    const ordered = inTopologicalOrder(nodes);
    const position = new Map(ordered.map((node, index) => [node.id, index]));
    assert.equal(position.size, size);
    for (const node of ordered) {
      for (const upstream of node.upstream)
        assert.ok((position.get(upstream) as number) < (position.get(node.id) as number));
    }
  }
});

test("flytekit's names of maps are shortened", () => {
  assert.equal(mapName("shop.map_score_1f2210850ffce76071ffac74a263152a-arraynode"), "score");
  assert.equal(mapName("map_of_cities"), "map_of_cities");
});

test("rows: folded, searched, failed, running, slowest", () => {
  const made = tree();
  made.merge(ROOT, [
    run("n0", "SUCCEEDED", { created: 0, started: 0, seconds: 9 }),
    run("n1", "FAILED", { created: 1, started: 1, seconds: 3, parent: true, error: "inner" }),
    run("n2", "RUNNING", { created: 2, started: 2 }),
  ]);
  made.merge("n1", [
    run("n1-a", "SUCCEEDED", { created: 2, started: 2, seconds: 1 }),
    run("n1-b", "FAILED", { created: 3, started: 3, seconds: 1, error: "bad SHAPE" }),
  ]);
  const rows = (options: Partial<RowOptions>) =>
    visibleRows(made, { ...ALL, ...options }).map((row) => `${"  ".repeat(row.depth)}${row.node.key}`);
  assert.deepEqual(rows({}), ["n0", "n1", "  n1-a", "  n1-b", "n2"]);
  assert.deepEqual(rows({ isOpen: () => false }), ["n0", "n1", "n2"]);
  assert.deepEqual(rows({ search: "shape", isOpen: () => false }), ["n1", "  n1-b"]);
  assert.deepEqual(rows({ filter: "failed" }), ["n1", "  n1-b"]);
  assert.deepEqual(rows({ filter: "running" }), ["n2"]);
  assert.deepEqual(rows({ filter: "slowest" }), ["n2", "n0", "n1", "n1-a", "n1-b"]);
  assert.deepEqual(rows({ search: "nothing like it" }), []);
});

test("the first failure is the leaf that failed first, not what it stopped", () => {
  const made = tree();
  made.merge(ROOT, [
    run("n0", "ABORTED", { started: 0, seconds: 1 }),
    run("n1", "FAILED", { started: 0, seconds: 9 }),
    run("n2", "FAILED", { started: 0, seconds: 5, parent: true }),
  ]);
  assert.deepEqual([firstFailure(made)?.node.key, firstFailure(made)?.hasMore], ["n2", true]);
  made.merge("n2", [run("n2-a", "SUCCEEDED"), run("n2-b", "FAILED", { started: 1, seconds: 2 })]);
  assert.deepEqual([firstFailure(made)?.node.key, firstFailure(made)?.hasMore], ["n2-b", false]);
  assert.equal(firstFailure(tree()), undefined);
});

test("the newest active leaf is followed", () => {
  const made = tree();
  made.merge(ROOT, [run("n0", "RUNNING", { started: 5 }), run("n1", "RUNNING", { started: 9, parent: true })]);
  assert.equal(newestActive(made)?.key, "n1");
  made.merge("n1", [run("n1-a", "RUNNING", { started: 10 }), run("n1-b", "SUCCEEDED", { started: 11 })]);
  assert.equal(newestActive(made)?.key, "n1-a");
});

test("10,000 nodes become rows within 300 ms of CPU, and again after one change", (t) => {
  const made = tree();
  const runs = Array.from({ length: 10_000 }, (_, index) =>
    run(`n${index}`, "RUNNING", { created: index, started: index }),
  );
  const before = process.cpuUsage();
  made.merge(ROOT, runs);
  assert.equal(visibleRows(made, ALL).length, 10_000);
  const first = process.cpuUsage(before);
  const again = process.cpuUsage();
  made.merge(ROOT, [run("n5000", "SUCCEEDED", { created: 5000, started: 5000, seconds: 10_000 })]);
  assert.equal(visibleRows(made, ALL)[5000]?.node.phase, "SUCCEEDED");
  const second = process.cpuUsage(again);
  t.diagnostic(`${(first.user / 1000).toFixed(0)} ms, then ${(second.user / 1000).toFixed(0)} ms`);
  assert.ok(first.user < 300_000 && second.user < 300_000);
});
