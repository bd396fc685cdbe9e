import assert from "node:assert/strict";
import test from "node:test";
import { noticesOf } from "../src/model/notices.ts";

test("notices follow the first line of the reasons of the start, and are shown once", () => {
  const notice = "image [me:1] maps to no environment of this server: the task runs in the default one";
  const ignored = "image [me:1]: no effect here: apt_packages [curl]";
  const reasons = [
    { message: `waits for the default environment\n${notice}` },
    { message: `task submitted\n${notice}\n${ignored}` },
    { message: "Traceback\nsecond line" },
    {},
  ];
  assert.deepEqual(noticesOf(reasons), [notice, ignored]);
  assert.deepEqual(noticesOf([{ message: "task submitted" }]), []);
  assert.deepEqual(noticesOf(undefined), []);
});
