import assert from "node:assert/strict";
import { test } from "node:test";
import { allows, refusalText } from "../../src/model/roles.ts";

const grants = [
  { role: "view", project: "*", domain: "*" },
  { role: "run", project: "team-*", domain: "development" },
  { role: "owner", project: "secret", domain: "*" },
];

test("a role includes the ones before it, in the places of its patterns", () => {
  const at = (project: string, domain: string | null) => ({ project, domain });
  assert.equal(allows(grants, "view", at("any", "production")), true);
  assert.equal(allows(grants, "run", at("team-a", "development")), true);
  assert.equal(allows(grants, "view", at("team-a", "development")), true);
  assert.equal(allows(grants, "run", at("team-a", "production")), false);
  assert.equal(allows(grants, "run", at("team-a", null)), true);
  assert.equal(allows(grants, "register", at("team-a", "development")), false);
  assert.equal(allows([], "view", at("a", "b")), false);
});

test("a place of all projects is matched by the pattern for all alone", () => {
  assert.equal(allows([{ role: "admin", project: "a*", domain: "*" }], "admin", { project: "*", domain: "*" }), false);
  assert.equal(allows([{ role: "admin", project: "*", domain: "*" }], "admin", { project: "*", domain: "*" }), true);
});

test("an unknown role includes no role", () => {
  assert.equal(allows([{ role: "owner", project: "*", domain: "*" }], "run", { project: "a", domain: "b" }), false);
});

test("the reason names role and place", () => {
  assert.match(refusalText("run", { project: "a", domain: "b" }), /role "run" in a \/ b/);
  assert.match(refusalText("admin", { project: "*", domain: "*" }), /in all projects/);
  assert.match(refusalText("admin", { project: "a", domain: "*" }), /in all domains of a/);
});
