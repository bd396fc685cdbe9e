import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { ApiError } from "../src/api/client.ts";

const listeners: (() => void)[] = [];
const page = {
  hidden: false,
  addEventListener: (_: string, run: () => void) => listeners.push(run),
  querySelector: () => null,
};
Object.assign(globalThis, { document: page });
const { paused, subscribe } = await import("../src/api/live.ts");

/** Let the promises of a read settle; timers are mocked. */
const settle = async () => {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
};

async function passing(ms: number): Promise<void> {
  mock.timers.tick(ms);
  await settle();
}

test("one timer and one copy for all readers of a key; the last one ends it", async () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  let reads = 0;
  const fetch = async () => ++reads;
  const [entry, endOne] = subscribe("shared", fetch, () => 1000);
  const [, endOther] = subscribe("shared", fetch, () => 1000);
  await settle();
  assert.equal(reads, 1);
  await passing(1000);
  assert.equal(reads, 2);
  assert.equal(entry.state.value.data, 2);
  endOne();
  await passing(1000);
  assert.equal(reads, 3);
  endOther();
  await passing(60_000);
  assert.equal(reads, 3);
  mock.timers.reset();
});

test("a failure is retried with growing distance and keeps the data, a refusal never", async () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  let reads = 0;
  let status = 200;
  const fetch = async () => {
    reads += 1;
    if (status !== 200) throw new ApiError("Get", status, undefined, "no");
    return "data";
  };
  const [entry, end] = subscribe("failing", fetch, () => 1000);
  await settle();
  status = 503;
  await passing(1000);
  assert.equal(entry.state.value.data, "data");
  assert.equal(entry.state.value.error?.status, 503);
  for (const wait of [1000, 2000, 4000]) {
    const before = reads;
    await passing(wait - 1);
    assert.equal(reads, before);
    await passing(1);
    assert.equal(reads, before + 1);
  }
  status = 403;
  await passing(8000);
  const refused = reads;
  await passing(600_000);
  assert.equal(reads, refused);
  end();
  mock.timers.reset();
});

test("a hidden tab and a pause read nothing, and once afterwards", async () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  let reads = 0;
  const [, end] = subscribe(
    "hidden",
    async () => ++reads,
    () => 1000,
  );
  await settle();
  page.hidden = true;
  await passing(10_000);
  assert.equal(reads, 1);
  page.hidden = false;
  for (const run of listeners) run();
  await settle();
  assert.equal(reads, 2);
  paused.value = true;
  await passing(10_000);
  assert.equal(reads, 2);
  paused.value = false;
  await settle();
  assert.equal(reads, 3);
  end();
  mock.timers.reset();
});
