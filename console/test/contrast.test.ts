/** Contrasts of the tokens in both themes, by the formula of WCAG 2.2. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const css = readFileSync(new URL("../src/styles/tokens.css", import.meta.url), "utf8");
const THEMES = ["light", "dark"] as const;

function token(name: string, theme: (typeof THEMES)[number]): string {
  const value = new RegExp(`--${name}:\\s*([^;]+);`).exec(css)?.[1]?.trim() ?? "";
  const pair = /light-dark\((#[0-9a-f]+), (#[0-9a-f]+)\)/.exec(value);
  const found = pair ? pair[theme === "light" ? 1 : 2] : value;
  assert.match(found ?? "", /^#[0-9a-f]{6}$/, name);
  return found ?? "";
}

function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one: string, other: string): number {
  const [low = 0, high = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

const SURFACES = ["bg", "surface", "raised", "sunken", "hover", "selected"];
const GROUPS = ["succeeded", "running", "failed", "aborted", "waiting", "paused", "skipped", "unknown"];

for (const theme of THEMES) {
  test(`text has a contrast of 4.5:1 on every surface, ${theme}`, () => {
    for (const surface of SURFACES)
      for (const text of ["text", "muted", "accent", "danger", "warning"]) {
        const found = contrast(token(text, theme), token(surface, theme));
        assert.ok(found >= 4.5, `${text} on ${surface}: ${found.toFixed(2)}`);
      }
  });
  test(`phases have 4.5:1 as text and 3:1 as bars, ${theme}`, () => {
    for (const group of GROUPS) {
      for (const behind of [...SURFACES, `tint-${group}`]) {
        const found = contrast(token(`phase-${group}`, theme), token(behind, theme));
        assert.ok(found >= 4.5, `phase-${group} on ${behind}: ${found.toFixed(2)}`);
      }
      for (const behind of ["bg", "surface"]) {
        const found = contrast(token(`fill-${group}`, theme), token(behind, theme));
        assert.ok(found >= 3, `fill-${group} on ${behind}: ${found.toFixed(2)}`);
      }
    }
  });
  test(`buttons and borders of fields, ${theme}`, () => {
    for (const fill of ["accent-fill", "danger-fill"]) {
      const found = contrast("#ffffff", token(fill, theme));
      assert.ok(found >= 4.5, `white on ${fill}: ${found.toFixed(2)}`);
    }
    for (const surface of ["bg", "surface", "raised"]) {
      const found = contrast(token("line-strong", theme), token(surface, theme));
      assert.ok(found >= 3, `line-strong on ${surface}: ${found.toFixed(2)}`);
    }
  });
}
