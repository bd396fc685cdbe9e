import assert from "node:assert/strict";
import { test } from "node:test";
import {
  asPhase,
  countGroups,
  isActive,
  isFailure,
  isTerminal,
  phaseGroup,
  phaseLabel,
} from "../../src/model/phases.ts";

test("a missing phase is UNDEFINED and an unknown one UNKNOWN", () => {
  for (const name of ["", null, undefined]) assert.equal(asPhase(name), "UNDEFINED");
  for (const name of ["SOMETHING_NEW", "toString"]) assert.equal(asPhase(name), "UNKNOWN");
  assert.equal(asPhase("RECOVERED"), "RECOVERED");
});

test("no phase is both active and terminal", () => {
  const names = ["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT", "SKIPPED", "RECOVERED", "FAILING"];
  for (const name of names) {
    const phase = asPhase(name);
    assert.notEqual(isActive(phase), isTerminal(phase), name);
    assert.ok(phaseLabel(phase));
  }
  assert.ok(!isActive("NOT_STARTED") && !isTerminal("NOT_STARTED"));
});

test("a retried attempt has failed but is no failure of its node", () => {
  assert.equal(phaseGroup("RETRYABLE_FAILED"), "failed");
  assert.ok(!isFailure("RETRYABLE_FAILED") && isFailure("TIMED_OUT") && !isFailure("ABORTED"));
});

test("phases are counted by group", () => {
  const counts = countGroups(["SUCCEEDED", "RECOVERED", "FAILED", "TIMED_OUT", "RUNNING"]);
  assert.deepEqual(
    [...counts],
    [
      ["succeeded", 2],
      ["failed", 2],
      ["running", 1],
    ],
  );
});
