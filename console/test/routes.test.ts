import assert from "node:assert/strict";
import { test } from "node:test";
import { links, parse, type Route } from "../src/routes.ts";

const P = { project: "flytesnacks", domain: "development" };
const BASE = "/console/projects/flytesnacks/domains/development";

/** Every address of the reference, with the route that shows it. */
const TABLE: [string, Route][] = [
  ["/console", { page: "home" }],
  ["/console/", { page: "home" }],
  ["/console/nowhere", { page: "home", unknown: "/nowhere" }],
  ["/console/select-project", { page: "projects" }],
  [BASE, { page: "executions", ...P }],
  [`${BASE}/`, { page: "executions", ...P }],
  [`${BASE}/executions`, { page: "executions", ...P }],
  [`${BASE}/workflows`, { page: "workflows", ...P }],
  [`${BASE}/tasks`, { page: "tasks", ...P }],
  [`${BASE}/launchPlans`, { page: "launchPlans", ...P }],
  [`${BASE}/executions/a9f`, { page: "execution", ...P, name: "a9f" }],
  [`${BASE}/executions/a%20b%2Fc+d`, { page: "execution", ...P, name: "a b/c+d" }],
  [
    `${BASE}/executions/a9f/nodeId/n0-0-n1/taskId/mod.task/attempt/2/view/logs`,
    { page: "execution", ...P, name: "a9f", at: { node: "n0-0-n1", task: "mod.task", attempt: "2", view: "logs" } },
  ],
  [
    `${BASE}/executions/a9f/nodeId/n0/taskId/t/attempt/0/mappedIndex/7/mappedAttempt/1/view/flytedecks`,
    {
      page: "execution",
      ...P,
      name: "a9f",
      at: { node: "n0", task: "t", attempt: "0", index: "7", mappedAttempt: "1", view: "flytedecks" },
    },
  ],
  [`${BASE}/workflows/train.main`, { page: "entity", kind: "workflow", ...P, name: "train.main" }],
  [`${BASE}/workflow/train.main`, { page: "entity", kind: "workflow", ...P, name: "train.main" }],
  [`${BASE}/tasks/train.fit`, { page: "entity", kind: "task", ...P, name: "train.fit" }],
  [`${BASE}/launchPlans/nightly/eu`, { page: "entity", kind: "launch_plan", ...P, name: "nightly/eu" }],
  [
    `${BASE}/workflow/train.main/version/v1/2+3:4==`,
    { page: "version", kind: "workflow", ...P, name: "train.main", version: "v1/2+3:4==" },
  ],
  [
    `${BASE}/task/train.fit/version/v1%2F2%2B3%3A4%3D%3D`,
    { page: "version", kind: "task", ...P, name: "train.fit", version: "v1/2+3:4==" },
  ],
  [
    `${BASE}/launch_plan/nightly/version/release/version/2`,
    { page: "version", kind: "launch_plan", ...P, name: "nightly", version: "release/version/2" },
  ],
  [`${BASE}/task/t/version/a//b`, { page: "version", kind: "task", ...P, name: "t", version: "a//b" }],
  // Decoded once: an encoded escape stays an escape. A percent sign that escapes nothing stays, too.
  [`${BASE}/task/t/version/100%2525`, { page: "version", kind: "task", ...P, name: "t", version: "100%25" }],
  [`${BASE}/task/t/version/100%`, { page: "version", kind: "task", ...P, name: "t", version: "100%" }],
  [`${BASE}/tasks/%C3%BC%F0%9F%98%80`, { page: "entity", kind: "task", ...P, name: "ü😀" }],
  [`${BASE}/workflows/train.main/launch`, { page: "launch", kind: "workflow", ...P, name: "train.main" }],
  [`${BASE}/workflows/train.main/grid`, { page: "grid", ...P, name: "train.main" }],
  [`${BASE}/schedules`, { page: "schedules", ...P }],
  [`${BASE}/settings`, { page: "settings", ...P }],
  [`${BASE}/cache`, { page: "cache", ...P }],
  [`${BASE}/compare`, { page: "compare", ...P }],
  [`${BASE}/search`, { page: "search", ...P }],
  [`${BASE}/nothing/here`, { page: "home", unknown: "/projects/flytesnacks/domains/development/nothing/here" }],
];

for (const [address, route] of TABLE) test(`reads ${address}`, () => assert.deepEqual(parse(address), { route }));

const MOVED: [string, string, string][] = [
  ["/console/projects/flytesnacks", "?domain=staging", "/console/projects/flytesnacks/domains/staging"],
  ["/console/projects/flytesnacks", "", "/console/projects/flytesnacks/domains/production"],
  ["/console/projects/other", "", "/console/projects/other/domains/development"],
  [
    "/console/projects/flytesnacks/workflows",
    "?domain=staging&status=failed",
    "/console/projects/flytesnacks/domains/staging/workflows?status=failed",
  ],
  [
    "/console/projects/flytesnacks/executions/a9f",
    "?domain=staging",
    "/console/projects/flytesnacks/domains/staging/executions/a9f",
  ],
];

for (const [path, search, target] of MOVED)
  test(`moves ${path}${search}`, () => {
    const found = parse(path, search, { project: "flytesnacks", domain: "production" });
    assert.equal(found.moved, target);
    const [moved = ""] = target.split("?");
    assert.deepEqual(parse(moved).route, found.route);
  });

test("every link is read as what it was written for", () => {
  const hard = "a/b+c d%2F:=ü😀?#&.";
  const place = { project: hard, domain: "d x" };
  const written: [string, Route][] = [
    [links.home(), { page: "home" }],
    [links.projects(), { page: "projects" }],
    [links.executions(place), { page: "executions", ...place }],
    [links.list(place, "launchPlans"), { page: "launchPlans", ...place }],
    [links.execution(place, hard), { page: "execution", ...place, name: hard }],
    [links.entity("launch_plan", place, hard), { page: "entity", kind: "launch_plan", ...place, name: hard }],
    [links.version("task", place, hard, hard), { page: "version", kind: "task", ...place, name: hard, version: hard }],
    [links.launch("workflow", place, hard), { page: "launch", kind: "workflow", ...place, name: hard }],
    [links.grid(place, hard), { page: "grid", ...place, name: hard }],
  ];
  for (const [address, route] of written) assert.deepEqual(parse(address).route, route, address);
});

test("a query keeps its values", () => {
  const address = links.executions(P, { q: 'phase:failed "a b/c" +x&y', none: undefined, empty: "" });
  const search = new URL(address, "http://x").searchParams;
  assert.deepEqual([...search], [["q", 'phase:failed "a b/c" +x&y']]);
});
