// Fail where the first view is larger than its budget: the entry, its static imports, and their styles, gzipped.
import { readFileSync, statSync } from "node:fs";

const SCRIPT_BYTES_MAX = 100 * 1024;
const STYLE_BYTES_MAX = 20 * 1024;
// Pages that open first: an address of an execution or of the list of executions.
const FIRST = ["index.html", "src/pages/executions/index.tsx", "src/pages/execution/index.tsx"];

const folder = new URL("../../app/console/static/", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL("manifest.json", folder), "utf8"));

function closure(key, found = new Set()) {
  if (found.has(key)) return found;
  found.add(key);
  for (const next of manifest[key].imports ?? []) closure(next, found);
  return found;
}

function size(keys) {
  const styles = new Set();
  let script = 0;
  for (const key of keys) {
    script += statSync(new URL(`${manifest[key].file}.gz`, folder)).size;
    for (const file of manifest[key].css ?? []) styles.add(file);
  }
  const style = [...styles].reduce((sum, file) => sum + statSync(new URL(`${file}.gz`, folder)).size, 0);
  return { script, style };
}

let failed = false;
for (const page of FIRST) {
  const { script, style } = size(closure(page, closure("index.html")));
  const over = script > SCRIPT_BYTES_MAX || style > STYLE_BYTES_MAX;
  failed ||= over;
  const kilo = (bytes) => `${(bytes / 1024).toFixed(1)} kB`;
  console.log(`${over ? "TOO LARGE " : ""}${page}: script ${kilo(script)}, style ${kilo(style)} gzipped`);
}
process.exit(failed ? 1 : 0);
