import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import type { Literal } from "../../src/api/literals.ts";
import type { LiteralType } from "../../src/api/shapes.ts";
import { curlCommand, pyflyteCommand, pythonOfLiteral, remoteSnippet, shellQuote } from "../../src/model/commands.ts";
import {
  carriedForm,
  createRequest,
  type Form,
  launchPlanInputs,
  NO_OPTIONS,
  optionsOfSpec,
  optionsSpec,
  refusedField,
  startForm,
  type Target,
  taskInputs,
} from "../../src/model/launch.ts";

const INT: LiteralType = { simple: "INTEGER" };
const STR: LiteralType = { simple: "STRING" };
const integer = (value: string): Literal => ({ scalar: { primitive: { integer: value } } });
const TARGET: Target = { kind: "launch_plan", project: "p", domain: "d", name: "a.b", version: "v/1" };

const PLAN = {
  spec: { fixed_inputs: { literals: { y: integer("10") } } },
  closure: {
    expected_inputs: {
      parameters: {
        z: { var: { type: INT, description: "z" }, default: { ...integer("7"), hash: "h" } },
        a: { var: { type: STR, description: "Who" }, required: true },
        y: { var: { type: INT }, default: integer("1") },
      },
    },
  },
};
const inputs = launchPlanInputs(PLAN);

test("required inputs come first, fixed ones last, and a description that repeats the name is dropped", () => {
  assert.deepEqual(
    inputs.map((input) => [input.name, input.required, input.description, Boolean(input.fixed)]),
    [
      ["a", true, "Who", false],
      ["z", false, "", false],
      ["y", false, "", true],
    ],
  );
  const task = {
    closure: { compiled_task: { template: { interface: { inputs: { variables: { q: { type: INT } } } } } } },
  };
  assert.deepEqual(
    taskInputs(task).map((input) => [input.name, input.required]),
    [["q", true]],
  );
});

test("an unchanged default is left to the server, an unchanged value of an execution is sent as it came", () => {
  const form = startForm(inputs);
  form.drafts.a = { kind: "text", text: "ann" };
  const fresh = createRequest(TARGET, inputs, form, {}, "utc");
  assert.deepEqual(fresh.request?.inputs, { literals: { a: { scalar: { primitive: { string_value: "ann" } } } } });
  assert.deepEqual(fresh.request?.spec?.launch_plan, {
    resource_type: "LAUNCH_PLAN",
    project: "p",
    domain: "d",
    name: "a.b",
    version: "v/1",
  });

  const given: Record<string, Literal> = {
    a: { hash: "kept", scalar: { primitive: { string_value: "x" } } },
    z: integer("5"),
    y: integer("10"),
  };
  const again = createRequest(TARGET, inputs, startForm(inputs, given), given, "utc");
  assert.deepEqual(again.request?.inputs?.literals, { a: given.a, z: given.z });
});

test("problems name the field", () => {
  const form: Form = {
    ...startForm(inputs),
    name: "Bad_Name",
    options: {
      ...NO_OPTIONS,
      maxParallelism: "-1",
      labels: [{ key: "", value: "x" }],
      envs: [
        { key: "A", value: "1" },
        { key: "A", value: "2" },
      ],
    },
  };
  form.drafts.z = { kind: "text", text: "9223372036854775808" };
  const { request, problems } = createRequest(TARGET, inputs, form, {}, "utc");
  assert.equal(request, null);
  assert.deepEqual(
    problems.map((problem) => problem.path.join(".")),
    ["inputs.a", "inputs.z", "name", "options.maxParallelism", "options.labels", "options.envs"],
  );
});

test("options come back from the spec that they made", () => {
  const options = {
    ...NO_OPTIONS,
    labels: [{ key: "team", value: "a" }],
    annotations: [{ key: "x/y", value: "" }],
    envs: [{ key: "A", value: "b c" }],
    tags: ["t1"],
    serviceAccount: "sa",
    iamRole: "role",
    rawOutput: "s3://b/p",
    maxParallelism: "5",
    interruptible: "false" as const,
    overwriteCache: true,
    disableNotifications: true,
  };
  assert.deepEqual(optionsOfSpec(optionsSpec(options)), options);
  assert.deepEqual(optionsSpec(NO_OPTIONS), {});
  assert.deepEqual(optionsOfSpec({}), NO_OPTIONS);
});

test("a change of the version keeps what was typed where the type is the same", () => {
  const form = startForm(inputs);
  form.drafts.a = { kind: "text", text: "ann" };
  form.drafts.z = { kind: "text", text: "8" };
  const next = launchPlanInputs({
    closure: {
      expected_inputs: {
        parameters: {
          a: { var: { type: STR, description: "Who" }, required: true },
          z: { var: { type: STR }, required: true },
        },
      },
    },
  });
  assert.deepEqual(carriedForm(form, inputs, next).drafts, { a: { kind: "text", text: "ann" }, z: { kind: "unset" } });
});

test("refusals of the server land at the field that they name", () => {
  const cases: Array<[string, string]> = [
    ["invalid z input wrong type. Expected simple:INTEGER, but got simple:STRING", "inputs.z"],
    ["expected_inputs a missing", "inputs.a"],
    ["invalid input z", "inputs.z"],
    ["Failed to validate literal type for [a] with err: got unknown literal type: [<nil>].", "inputs.a"],
    ["invalid name format: A, does not match regex '^[a-z]'", "name"],
    ["workflow execution already exists with identifier", "name"],
    ["labels map cannot exceed 16 entries", "options.labels"],
    ["invalid annotation key [x]", "options.annotations"],
    ["something else", ""],
  ];
  for (const [message, path] of cases) assert.equal(refusedField(message, inputs).join("."), path, message);
});

test("a POSIX shell reads quoted words back", () => {
  for (const word of [
    "",
    "a b",
    "it's",
    '"$HOME"',
    "`id`",
    "\\",
    "line\nbreak",
    "*",
    "ä",
    "--x=1",
    "!x",
    "a;b",
    "''",
  ]) {
    const result = spawnSync("sh", ["-c", `printf %s ${shellQuote(word)}`], { encoding: "utf8" });
    assert.equal(result.stdout, word);
  }
});

test("commands hold the whole launch", () => {
  const form = startForm(inputs);
  form.name = "n1";
  form.drafts.a = { kind: "text", text: "it's <b>" };
  form.drafts.z = { kind: "text", text: "-9007199254740993" };
  form.options = { ...NO_OPTIONS, labels: [{ key: "k", value: "v w" }], interruptible: "true", tags: ["t"] };
  const { request } = createRequest(TARGET, inputs, form, {}, "utc");
  assert.ok(request);
  const curl = curlCommand("http://host:1/prefix", request);
  const echoed = spawnSync("sh", ["-c", `curl() { for word; do printf '%s\\0' "$word"; done; }; ${curl}`], {
    encoding: "utf8",
  });
  const words = echoed.stdout.split("\0");
  assert.equal(words[2], "http://host:1/prefix/api/v1/executions");
  assert.deepEqual(JSON.parse(words[8] ?? ""), request);
  assert.deepEqual(pyflyteCommand(TARGET, inputs, request), {
    text: [
      "pyflyte run -p p -d d",
      "--name n1",
      "--label 'k=v w'",
      "--tag t",
      "--interruptible true",
      "remote-launchplan a.b:v/1",
      `--a 'it'\\''s <b>'`,
      "--z=-9007199254740993",
    ].join(" \\\n  "),
    missing: [],
  });
});

test("pyflyte's command line names what it cannot express", () => {
  const request = { inputs: { literals: { z: { offloaded_metadata: { uri: "s3://b/k" } } } } };
  assert.deepEqual(pyflyteCommand(TARGET, inputs, request).missing, ["z"]);
});

test("literals print as Python", () => {
  const when: Literal = { scalar: { primitive: { datetime: "2026-01-02T03:04:05.123456789Z" } } };
  const span: Literal = { scalar: { primitive: { duration: "3602.5s" } } };
  assert.equal(
    pythonOfLiteral({ collection: { literals: [when, { map: { literals: { 'k"': span } } }] } }),
    '[datetime.datetime.fromisoformat("2026-01-02T03:04:05.123456+00:00"), {"k\\"": datetime.timedelta(seconds=3602.5)}]',
  );
  assert.match(
    remoteSnippet("flyte://v1/p/d/e/n0/o/o0", "p", "d"),
    /remote\.get\("flyte:\/\/v1\/p\/d\/e\/n0\/o\/o0"\)/,
  );
});
