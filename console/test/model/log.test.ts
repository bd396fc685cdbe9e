import assert from "node:assert/strict";
import { test } from "node:test";
import { ansiSpans, plainText } from "../../src/model/ansi.ts";
import { LINE_BYTES_MAX, LogBuffer, lastCause, lastLine, readable } from "../../src/model/logText.ts";
import { randomOf } from "./random.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const texts = (buffer: LogBuffer) => buffer.shown().map((line) => line.text);

test("lines are split, the unfinished last one included", () => {
  const buffer = new LogBuffer(0);
  buffer.append(bytes("one\ntw"));
  assert.deepEqual(texts(buffer), ["one", "tw"]);
  buffer.append(bytes("o\n"));
  assert.deepEqual(texts(buffer), ["one", "two"]);
  assert.deepEqual(
    buffer.shown().map((line) => line.start),
    [0, 4],
  );
});

test("the end of a log begins with a whole line, and what comes before it can be added", () => {
  const log = bytes("first\nsecond é\nthird\n");
  const buffer = new LogBuffer(9);
  buffer.append(log.slice(9));
  assert.deepEqual(texts(buffer), ["third"]);
  assert.equal(buffer.isNumbered, false);
  assert.equal(buffer.prepend(log.slice(0, 9)), 2);
  assert.deepEqual(texts(buffer), ["first", "second é", "third"]);
  assert.equal(buffer.isNumbered, true);
});

test("pieces of any size give the lines of the whole log", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = randomOf(seed);
    const words = Array.from(
      { length: Math.floor(random() * 40) },
      () => ["a", "\n", "é", "漢字", "", "\n\n", "xyz"][Math.floor(random() * 7)],
    );
    const text = words.join("");
    const log = bytes(text);
    const from = Math.floor(random() * (log.length + 1));
    const buffer = new LogBuffer(from);
    let at = from;
    while (at < log.length) {
      const to = Math.min(log.length, at + 1 + Math.floor(random() * 9));
      buffer.append(log.slice(at, to));
      at = to;
    }
    let first = from;
    while (first > 0) {
      const to = Math.max(0, first - 1 - Math.floor(random() * 9));
      buffer.prepend(log.slice(to, first));
      first = to;
    }
    const expected = text.split("\n");
    if (expected.at(-1) === "") expected.pop();
    assert.deepEqual(texts(buffer).join("\n"), expected.join("\n"), `seed ${seed}`);
    for (const line of buffer.shown()) assert.ok(line.start >= 0 && line.start <= log.length);
  }
});

test("a line without end is shown in parts", () => {
  const buffer = new LogBuffer(0);
  buffer.append(bytes("x".repeat(3 * LINE_BYTES_MAX)));
  assert.equal(texts(buffer).join("").length, 3 * LINE_BYTES_MAX);
  assert.ok(buffer.shown().length >= 3);
});

test("bytes that are no UTF-8 are replaced", () => {
  const buffer = new LogBuffer(0);
  buffer.append(new Uint8Array([0xff, 0x41, 10]));
  assert.deepEqual(texts(buffer), ["\ufffdA"]);
});

test("a progress bar shows its last state", () => {
  const buffer = new LogBuffer(0);
  buffer.append(bytes("10%\r50%\r100%\r\nnext\n"));
  assert.deepEqual(texts(buffer), ["100%", "next"]);
});

test("a window is kept small at either end", () => {
  const log = bytes(Array.from({ length: 100 }, (_, index) => `line ${String(index).padStart(2, "0")}\n`).join(""));
  const buffer = new LogBuffer(0);
  buffer.append(log);
  assert.equal(buffer.dropBefore(80), 90);
  assert.equal(buffer.first, 90 * 8);
  assert.equal(texts(buffer)[0], "line 90");
  buffer.prepend(log.slice(80 * 8, 90 * 8));
  assert.equal(texts(buffer)[0], "line 81", "the line at the border waits for the byte before it");
  buffer.dropAfter(80);
  assert.equal(texts(buffer).at(-1), "line 89");
  buffer.append(log.slice(buffer.end));
  assert.equal(texts(buffer).at(-1), "line 99");
});

test("1 MiB is split within 300 ms of CPU", (t) => {
  const piece = bytes(
    "a line of a log that is about one hundred characters long, as those of training runs often are\n".repeat(10_800),
  );
  const before = process.cpuUsage();
  const buffer = new LogBuffer(0);
  buffer.append(piece);
  const { user } = process.cpuUsage(before);
  t.diagnostic(`${(user / 1000).toFixed(0)} ms`);
  assert.equal(buffer.shown().length, 10_800);
  assert.ok(user < 300_000);
});

test("escape sequences become classes, and text stays text", () => {
  const spans = ansiSpans("\x1b[1;31merr\x1b[0m <b>\x1b[38;5;208mx\x1b[48;2;1;2;3my\x1b[39;49mz");
  assert.deepEqual(
    spans.map((span) => [span.text, span.classes, span.color, span.background]),
    [
      ["err", "ansi-bold ansi-1", undefined, undefined],
      [" <b>", "", undefined, undefined],
      ["x", "", "rgb(255 135 0)", undefined],
      ["y", "", "rgb(255 135 0)", "rgb(1 2 3)"],
      ["z", "", undefined, undefined],
    ],
  );
});

test("cursor moves, titles, links and control characters are dropped", () => {
  assert.equal(plainText("a\x1b[2Kb\x1b]8;;http://x\x07c\x1b]0;t\x1b\\d\x00e\x1b"), "abcde");
  for (const text of ["\x1b[", "\x1b[999;999m", "\x1b[38m", "\x1b[38;5m", "\x1b]x"])
    assert.ok(Array.isArray(ansiSpans(text)));
});

test("the last line of an error is its cause", () => {
  assert.equal(lastLine("Trace:\n\n  File x\n ValueError: bad \n\n"), "ValueError: bad");
  assert.equal(lastLine(""), "");
});

test("lines of flytekit's logger are readable, and the cause of a failure is found behind its frames", () => {
  const entry = (message: string) =>
    JSON.stringify({ asctime: "12:00", name: "flytekit", levelname: "ERROR", message });
  assert.equal(readable(entry("Trace:\n  x")), "12:00 ERROR flytekit: Trace:\n  x");
  for (const text of ["{}", '{"message": 1}', '{"message": "a"', '{"message":"a"}', "plain"])
    assert.equal(readable(text), text);
  const log = [entry("Trace:\n\nValueError: no 3"), entry("!! End Error Captured by Flyte !!"), ""].join("\n");
  assert.equal(lastCause(log), "ValueError: no 3");
  assert.equal(lastCause("a\nValueError: x\n"), "ValueError: x");
  assert.equal(lastCause(""), "");
});

test("what is shown does not change with the buffer, so that a page sees the difference", () => {
  const buffer = new LogBuffer(0);
  buffer.append(bytes("one\n"));
  const before = buffer.shown();
  buffer.append(bytes("two\n"));
  assert.equal(before.length, 1);
  assert.notEqual(buffer.shown(), before);
});
