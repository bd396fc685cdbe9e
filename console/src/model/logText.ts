// The part of a log that is held: a window of its bytes, split into lines with the positions of their first bytes.

/** A line of a log. */
export interface LogLine {
  /** The position of its first byte in the log. */
  readonly start: number;
  readonly text: string;
}

/** A longer line is shown as several. */
export const LINE_BYTES_MAX = 64 * 1024;
const NEWLINE = 10;

/** A window of a log: bytes `first` to `end`. Lines at its borders may be cut and wait for more bytes. */
export class LogBuffer {
  lines: LogLine[] = [];
  first: number;
  end: number;
  /** The bytes of a line whose beginning lies before the window. */
  private head = new Uint8Array();
  /** The bytes behind the last newline. */
  private tail = new Uint8Array();
  /** Whether the window begins with a whole line. */
  private aligned: boolean;
  private readonly decoder = new TextDecoder();

  /** position: where the window begins; 0 is the beginning of the log. */
  constructor(position: number) {
    this.first = position;
    this.end = position;
    this.aligned = position === 0;
  }

  /** Return all lines, the unfinished last one included, in an array of their own: `lines` grows in place. */
  shown(): readonly LogLine[] {
    if (this.tail.length === 0) return [...this.lines];
    return [...this.lines, this.line(this.tail, this.end - this.tail.length)];
  }

  /** Whether the window begins with the log, so that its lines can be numbered. */
  get isNumbered(): boolean {
    return this.first === 0;
  }

  /** Add the bytes behind the window. */
  append(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const start = this.end - this.tail.length;
    this.end += bytes.length;
    this.tail = this.tailOf(concat(this.tail, bytes), start);
  }

  /** Add the bytes before the window. Returns the number of new lines. */
  prepend(bytes: Uint8Array): number {
    if (bytes.length === 0) return 0;
    this.first -= bytes.length;
    this.aligned = this.first === 0;
    if (this.lines.length === 0 && this.head.length === 0) {
      // The window holds a part of one line.
      this.tail = this.tailOf(concat(bytes, this.tail), this.first);
      return this.lines.length;
    }
    const joined = concat(bytes, this.head);
    const cut = this.aligned ? 0 : joined.indexOf(NEWLINE) + 1;
    this.head = joined.slice(0, cut);
    const lines: LogLine[] = [];
    const rest = this.split(joined.subarray(cut), this.first + cut, lines);
    // Bytes without a newline belong to a line that was cut for its length.
    if (rest.length > 0) lines.push(this.line(rest, this.first + joined.length - rest.length));
    this.lines = lines.concat(this.lines);
    return lines.length;
  }

  /** Split the bytes behind the lines; return those behind the last newline. */
  private tailOf(bytes: Uint8Array, start: number): Uint8Array<ArrayBuffer> {
    let cut = 0;
    if (!this.aligned && this.lines.length === 0 && this.head.length === 0) {
      cut = bytes.indexOf(NEWLINE) + 1;
      this.head = bytes.slice(0, cut);
    }
    return this.split(bytes.subarray(cut), start + cut, this.lines).slice();
  }

  /** Drop lines from the beginning, so that about `bytes` are left. Returns the number of dropped lines. */
  dropBefore(bytes: number): number {
    const from = this.end - bytes;
    let count = 0;
    while (count < this.lines.length && (this.lines[count] as LogLine).start < from) count++;
    if (count === 0) return 0;
    const next = this.lines[count];
    this.lines = this.lines.slice(count);
    this.head = new Uint8Array();
    this.aligned = true;
    this.first = next ? next.start : this.end - this.tail.length;
    return count;
  }

  /** Drop lines from the end, so that about `bytes` are left. */
  dropAfter(bytes: number): void {
    const until = this.first + bytes;
    const keep = this.lines.findIndex((line) => line.start >= until);
    if (keep < 0) return;
    this.end = (this.lines[keep] as LogLine).start;
    this.lines = this.lines.slice(0, keep);
    this.tail = new Uint8Array();
  }

  /** Split bytes into lines; return those behind the last newline. */
  private split(bytes: Uint8Array, start: number, lines: LogLine[]): Uint8Array {
    let from = 0;
    for (;;) {
      const found = bytes.indexOf(NEWLINE, from);
      const end = found < 0 ? bytes.length : found;
      while (end - from > LINE_BYTES_MAX) {
        lines.push(this.line(bytes.subarray(from, from + LINE_BYTES_MAX), start + from));
        from += LINE_BYTES_MAX;
      }
      if (found < 0) return bytes.subarray(from);
      lines.push(this.line(bytes.subarray(from, found), start + from));
      from = found + 1;
    }
  }

  private line(bytes: Uint8Array, start: number): LogLine {
    return { start, text: readable(afterReturn(this.decoder.decode(bytes))) };
  }
}

/**
 * Return the text of a line that a logger wrote as JSON, as flytekit's does: time, level, name and message, whose line
 * breaks are real ones. Other lines stay as they are.
 */
export function readable(line: string): string {
  if (!line.startsWith("{") || !line.endsWith("}") || !line.includes('"message"')) return line;
  try {
    const { asctime, time, levelname, level, name, message } = JSON.parse(line) as Record<string, unknown>;
    if (typeof message !== "string") return line;
    const origin = [asctime ?? time, levelname ?? level, name].filter((part) => typeof part === "string");
    return origin.length > 0 ? `${origin.join(" ")}: ${message}` : line;
  } catch {
    return line;
  }
}

/** Lines that flytekit writes around an error. */
const FRAMES = /!! (?:Begin|End) .*Error Captured by Flyte !!/;

/** Return the last line of a log that says something about a failure. */
export function lastCause(log: string): string {
  for (const line of log.trimEnd().split("\n").reverse()) {
    const text = readable(line.trim());
    if (text !== "" && !FRAMES.test(text)) return lastLine(text);
  }
  return "";
}

/** Return what a terminal shows of a line: progress bars write over themselves after a carriage return. */
function afterReturn(text: string): string {
  const line = text.endsWith("\r") ? text.slice(0, -1) : text;
  const at = line.lastIndexOf("\r");
  return at < 0 ? line : line.slice(at + 1);
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

/** Return the last line that is not empty, without what comes before it. */
export function lastLine(text: string): string {
  const lines = text.trimEnd().split("\n");
  return (lines.at(-1) ?? "").trim();
}
