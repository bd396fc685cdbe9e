// Numbers of the inputs and outputs of a workflow over its last runs. No DOM.

import type { Values } from "./compare.ts";

/** The values of one run. */
export interface RunValues {
  readonly name: string;
  readonly inputs: Values;
  readonly outputs: Values;
}

/** One number of one run: `x` is the place of the run in the given order. */
export interface Point {
  readonly x: number;
  readonly run: string;
  readonly value: number;
  /** All digits, which a 64-bit integer may have more of than `value`. */
  readonly text: string;
}

/** One number over the runs that have it. */
export interface Series {
  readonly kind: "input" | "output";
  /** Name, and inside of records the path: "model.loss". */
  readonly name: string;
  readonly points: readonly Point[];
  readonly least: number;
  readonly most: number;
}

/** Records inside of records that are looked into. */
const DEPTH_MAX = 4;
/** Series of one workflow; a record may have any number of members. */
const SERIES_MAX = 60;

/**
 * Return a series for each number that at least two runs have: outputs first. Inputs that never differ are left out.
 *
 * @param runs The oldest first.
 */
export function seriesOf(runs: readonly RunValues[]): Series[] {
  const found = new Map<string, { kind: Series["kind"]; name: string; points: Point[] }>();
  const add = (kind: Series["kind"], name: string, point: Point): void => {
    const key = `${kind} ${name}`;
    const one = found.get(key) ?? { kind, name, points: [] };
    if (!found.has(key) && found.size < SERIES_MAX) found.set(key, one);
    one.points.push(point);
  };
  for (const kind of ["output", "input"] as const) {
    runs.forEach((run, x) => {
      for (const [name, value] of numbersOf(kind === "output" ? run.outputs : run.inputs, "", 0)) {
        add(kind, name, { x, run: run.name, value: Number(value), text: String(value) });
      }
    });
  }
  return [...found.values()]
    .filter(({ points }) => points.length > 1)
    .map((one) => {
      const values = one.points.map((point) => point.value);
      return { ...one, least: Math.min(...values), most: Math.max(...values) };
    })
    .filter((one) => one.kind === "output" || new Set(one.points.map((point) => point.text)).size > 1);
}

function* numbersOf(value: unknown, path: string, depth: number): Generator<[string, number | bigint]> {
  if (typeof value === "bigint") yield [path, value];
  else if (typeof value === "number") {
    if (Number.isFinite(value)) yield [path, value];
  } else if (typeof value === "object" && value !== null && !Array.isArray(value) && depth < DEPTH_MAX) {
    for (const [name, member] of Object.entries(value)) {
      yield* numbersOf(member, path ? `${path}.${name}` : name, depth + 1);
    }
  }
}

/** Return a number in at most six digits, for axes and captions. */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (value !== 0 && (size >= 1e9 || size < 1e-4)) return value.toExponential(3).replace(/\.?0+e/, "e");
  return Number(value.toPrecision(6)).toLocaleString("en", { maximumFractionDigits: 6 });
}
