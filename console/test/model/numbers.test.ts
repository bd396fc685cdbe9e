import assert from "node:assert/strict";
import { test } from "node:test";
import { seriesOf, shortNumber } from "../../src/model/numbers.ts";

const run = (name: string, inputs: Record<string, unknown>, outputs: Record<string, unknown> | undefined) => ({
  name,
  inputs,
  outputs,
});

test("outputs come first, inputs only where they differ, and runs without a number have no point", () => {
  const found = seriesOf([
    run("a", { rows: 10n, seed: 7n }, { loss: 0.5, model: { layers: 3n, tags: [1n] }, ok: true }),
    run("b", { rows: 20n, seed: 7n }, undefined),
    run("c", { rows: 20n, seed: 7n }, { loss: 0.25, model: { layers: 3n }, text: "1", bad: Number.NaN }),
  ]);
  assert.deepEqual(
    found.map((one) => [one.kind, one.name, one.points.map((point) => [point.x, point.run, point.value])]),
    [
      [
        "output",
        "loss",
        [
          [0, "a", 0.5],
          [2, "c", 0.25],
        ],
      ],
      [
        "output",
        "model.layers",
        [
          [0, "a", 3],
          [2, "c", 3],
        ],
      ],
      [
        "input",
        "rows",
        [
          [0, "a", 10],
          [1, "b", 20],
          [2, "c", 20],
        ],
      ],
    ],
  );
  assert.deepEqual([found[0]?.least, found[0]?.most], [0.25, 0.5]);
});

test("a point keeps all digits of an integer", () => {
  const large = { n: 9007199254740993n };
  assert.equal(seriesOf([run("a", {}, large), run("b", {}, large)])[0]?.points[0]?.text, "9007199254740993");
});

test("a number that one run has makes no series, and their count has a limit", () => {
  assert.deepEqual(seriesOf([run("a", {}, { loss: 1 })]), []);
  const wide = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`n${index}`, index]));
  assert.equal(seriesOf([run("a", {}, wide), run("b", {}, wide)]).length, 60);
});

test("numbers are short in captions", () => {
  assert.deepEqual([0, 0.1 + 0.2, 1234567, 5e12, 1e-7, -3].map(shortNumber), [
    "0",
    "0.3",
    "1,234,570",
    "5e+12",
    "1e-7",
    "-3",
  ]);
});
