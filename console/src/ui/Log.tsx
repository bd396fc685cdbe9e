/**
 * A log that opens at its end. It holds a window of the log, reads more when one scrolls to the window's borders, and
 * draws only the lines in view. Reads come from `source`, so this file makes no calls itself.
 */
import type { ComponentChildren, RefObject } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { ansiSpans, hasAnsi, plainText } from "../model/ansi.ts";
import { LogBuffer, type LogLine } from "../model/logText.ts";
import { kept } from "../store.ts";
import { Icon } from "./Icon.tsx";
import "./log.css";

/** A part of a log. `size` is that of the whole log when it was read. */
export interface LogPiece {
  readonly bytes: Uint8Array;
  readonly first: number;
  readonly size: number;
}

/** Where a log is read. `key` changes with the log. */
export interface LogSource {
  readonly key: string;
  /** Address for a download. */
  readonly href: string;
  /** Read a range of HTTP, such as "bytes=-1000". Undefined where the log has none of these bytes. */
  read(range: string, signal: AbortSignal): Promise<LogPiece | { readonly size: number }>;
  /** Return the size in bytes. */
  size(signal: AbortSignal): Promise<number>;
}

export interface LogProps {
  readonly source: LogSource;
  /** Whether the log may grow. */
  readonly growing: boolean;
  /** The line that the address names: a number from 1, or "@" and the position of its first byte. */
  readonly line: string | undefined;
  onLine(line: string | undefined): void;
}

/** Bytes that a log is opened with, and those of each further read. */
const OPEN_BYTES = 256 * 1024;
const PIECE_BYTES = 1024 * 1024;
/** Bytes that are held at most; the other end is dropped. */
const HELD_BYTES_MAX = 16 * 1024 * 1024;
const POLL_MS = 1000;
const LINE_PX = 18;
const CHARS_MAX = 5000;
const MATCHES_MAX = 5000;
const MARGIN_LINES = 30;

const wraps = kept("log.wrap", true);

type State = { buffer: LogBuffer; size: number; version: number; error: string; isOpen: boolean };

/** The window of a log: reads pieces one after the other, and follows the end. */
class LogWindow {
  state: State = { buffer: new LogBuffer(0), size: 0, version: 0, error: "", isOpen: false };
  private readonly abort = new AbortController();
  private busy = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  growing = false;

  constructor(
    readonly source: LogSource,
    private readonly publish: () => void,
  ) {}

  /** Open at the end, or around a position. */
  async open(position: number | undefined): Promise<void> {
    await this.exclusively(async () => {
      const from = position === undefined ? undefined : Math.max(0, position - OPEN_BYTES / 2);
      // A range of an empty log is refused, so an attempt that has just begun is asked for its size first.
      if (this.growing && (await this.source.size(this.abort.signal)) === 0) {
        this.set({ isOpen: true });
        return;
      }
      const range = from === undefined ? `bytes=-${OPEN_BYTES}` : `bytes=${from}-${from + OPEN_BYTES - 1}`;
      const piece = await this.source.read(range, this.abort.signal);
      const buffer = new LogBuffer("bytes" in piece ? piece.first : 0);
      if ("bytes" in piece) buffer.append(piece.bytes);
      this.set({ buffer, size: piece.size, isOpen: true });
    });
    this.plan();
  }

  /** Read the piece before the window. Returns the number of new lines above. */
  async readBefore(): Promise<number> {
    const { buffer } = this.state;
    let lines = 0;
    await this.exclusively(async () => {
      if (buffer.first === 0) return;
      const from = Math.max(0, buffer.first - PIECE_BYTES);
      const piece = await this.source.read(`bytes=${from}-${buffer.first - 1}`, this.abort.signal);
      if (!("bytes" in piece) || piece.first + piece.bytes.length !== buffer.first) return;
      lines = buffer.prepend(piece.bytes);
      if (buffer.end - buffer.first > HELD_BYTES_MAX) buffer.dropAfter(HELD_BYTES_MAX);
      this.set({ size: piece.size });
    });
    return lines;
  }

  /** Read the piece behind the window. Returns the number of lines that were dropped above. */
  async readAfter(): Promise<number> {
    const { buffer } = this.state;
    let dropped = 0;
    await this.exclusively(async () => {
      if (buffer.end === 0) {
        const size = await this.source.size(this.abort.signal);
        if (size === 0) return;
      }
      // The last byte is read again: a range without bytes is refused.
      const from = Math.max(0, buffer.end - 1);
      const range = `bytes=${from}-${from + PIECE_BYTES}`;
      const piece = await this.source.read(range, this.abort.signal);
      if (!("bytes" in piece)) {
        // The log was written anew, by an attempt that runs again.
        if (piece.size < buffer.end) this.set({ buffer: new LogBuffer(0), size: piece.size });
        else if (piece.size !== this.state.size) this.set({ size: piece.size });
        return;
      }
      const fresh = piece.bytes.subarray(buffer.end - from);
      if (fresh.length === 0) return;
      buffer.append(fresh);
      if (buffer.end - buffer.first > HELD_BYTES_MAX) dropped = buffer.dropBefore(HELD_BYTES_MAX);
      this.set({ size: piece.size });
    });
    return dropped;
  }

  /** Whether the window ends where the log ends, as far as known. */
  get atEnd(): boolean {
    return this.state.buffer.end >= this.state.size;
  }

  /** Read at the end once a second while the log grows and the window is at its end. */
  plan(): void {
    clearTimeout(this.timer);
    if (this.abort.signal.aborted) return;
    this.timer = setTimeout(async () => {
      if (!document.hidden && this.growing && this.state.error === "") {
        if (!this.state.isOpen) await this.open(undefined);
        else if (this.atEnd) await this.readAfter();
      }
      this.plan();
    }, POLL_MS);
  }

  close(): void {
    clearTimeout(this.timer);
    this.abort.abort();
  }

  /** Read all of the log for lines that match; `report` receives them with the share that was read. */
  async search(
    matches: (text: string) => boolean,
    report: (lines: LogLine[], share: number) => void,
    signal: AbortSignal,
  ) {
    const found: LogLine[] = [];
    const buffer = new LogBuffer(0);
    const size = this.state.size;
    while (buffer.end < size && found.length < MATCHES_MAX && !signal.aborted) {
      const piece = await this.source.read(`bytes=${buffer.end}-${buffer.end + PIECE_BYTES - 1}`, signal);
      if (!("bytes" in piece)) break;
      buffer.append(piece.bytes);
      const lines = buffer.end >= size ? buffer.shown() : buffer.lines;
      for (const line of lines) if (matches(line.text) && found.length < MATCHES_MAX) found.push(line);
      buffer.lines = [];
      report([...found], buffer.end / size);
    }
  }

  private async exclusively(work: () => Promise<void>): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      await work();
    } catch (error) {
      if (!this.abort.signal.aborted) this.set({ error: error instanceof Error ? error.message : String(error) });
    } finally {
      this.busy = false;
    }
  }

  private set(changes: Partial<State>): void {
    this.state = { ...this.state, error: "", ...changes, version: this.state.version + 1 };
    this.publish();
  }
}

export function Log({ source, growing, line, onLine }: LogProps) {
  const [, setVersion] = useState(0);
  const window = useMemo(() => new LogWindow(source, () => setVersion((version) => version + 1)), [source.key]);
  const [follow, setFollow] = useState(line === undefined);
  const [words, setWords] = useState("");
  const [found, setFound] = useState<{ lines: LogLine[]; share: number } | undefined>();
  const searching = useRef<AbortController>();
  window.growing = growing;
  useEffect(() => {
    setFollow(line === undefined);
    void window.open(positionOf(line));
    return () => {
      window.close();
      searching.current?.abort();
    };
  }, [window]);
  useEffect(() => {
    // What was written between the last poll and the end of the attempt.
    if (!growing && window.state.isOpen && window.atEnd) void window.readAfter();
  }, [growing]);
  const { buffer, size, version, error, isOpen } = window.state;
  const matcher = useMemo(() => matcherOf(words), [words]);
  const held = useMemo(() => buffer.shown(), [buffer, version]);
  const matching = useMemo(() => (matcher ? held.filter((one) => matcher(one.text)) : held), [held, matcher]);
  const lines = found?.lines ?? matching;
  const searchAll = () => {
    searching.current?.abort();
    const controller = new AbortController();
    searching.current = controller;
    if (matcher) void window.search(matcher, (all, share) => setFound({ lines: all, share }), controller.signal);
  };
  const changeWords = (text: string) => {
    searching.current?.abort();
    setFound(undefined);
    setWords(text);
    if (text) setFollow(false);
  };
  const goTo = (position: number | undefined) => {
    changeWords("");
    setFollow(position === undefined);
    void window.open(position);
  };
  return (
    <div class="log">
      <div class="log-bar">
        <input
          type="search"
          class="input"
          placeholder="Filter lines"
          aria-label="Filter lines"
          value={words}
          onInput={(event) => changeWords(event.currentTarget.value)}
        />
        {matcher && (
          <span class="muted small nowrap" role="status">
            {lines.length.toLocaleString("en")}
            {lines.length >= MATCHES_MAX ? "+" : ""} lines{found ? percentText(found.share) : ""}
          </span>
        )}
        {matcher && !found && (buffer.first > 0 || !window.atEnd) && (
          <button type="button" class="button small" onClick={searchAll}>
            Search all {bytesText(size)}
          </button>
        )}
        <span class="log-tools">
          {buffer.first > 0 && (
            <button type="button" class="button quiet small" onClick={() => goTo(0)} title="Go to the first line">
              Start
            </button>
          )}
          <button
            type="button"
            class="button quiet small"
            aria-pressed={follow}
            title="Stay at the end of the log"
            onClick={() => (follow ? setFollow(false) : window.atEnd && !words ? setFollow(true) : goTo(undefined))}
          >
            {growing ? "Follow" : "End"}
          </button>
          <button
            type="button"
            class="button quiet small"
            aria-pressed={wraps.value}
            onClick={() => {
              wraps.value = !wraps.value;
            }}
          >
            Wrap
          </button>
          <a class="button quiet small" href={source.href} download title={`Download the log (${bytesText(size)})`}>
            <Icon name="download" label="Download the log" />
          </a>
        </span>
      </div>
      {error ? (
        <p class="log-message">{error}</p>
      ) : isOpen && held.length === 0 ? (
        <p class="log-message muted">{growing ? "The log is empty so far." : "The log is empty."}</p>
      ) : (
        <Lines
          window={window}
          lines={lines}
          numbered={buffer.isNumbered && !matcher}
          filtered={matcher !== undefined}
          follow={follow}
          setFollow={setFollow}
          line={line}
          onLine={(one) => {
            onLine(one);
            if (found && one?.startsWith("@")) goTo(Number(one.slice(1)));
          }}
        />
      )}
    </div>
  );
}

interface LinesProps {
  readonly window: LogWindow;
  readonly lines: readonly LogLine[];
  readonly numbered: boolean;
  readonly filtered: boolean;
  readonly follow: boolean;
  setFollow(follow: boolean): void;
  readonly line: string | undefined;
  onLine(line: string | undefined): void;
}

function Lines({ window, lines, numbered, filtered, follow, setFollow, line, onLine }: LinesProps) {
  const frame = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600, columns: 100 });
  const wrap = wraps.value;
  const columns = wrap ? view.columns : Number.POSITIVE_INFINITY;
  const tops = useMemo(() => topsOf(lines, columns), [lines, columns]);
  const total = tops[lines.length] ?? 0;
  const topOf = (index: number): number => tops[index] ?? 0;
  const measure = () => {
    const element = frame.current;
    if (element) setView({ top: element.scrollTop, height: element.clientHeight, columns: columnsOf(element) });
  };
  useFrameSize(frame, measure);
  // Lines above the view come and go; the view stays on its lines.
  const anchor = useRef<{ start: number; offset: number }>();
  useLayoutEffect(() => {
    const element = frame.current;
    if (!element) return;
    if (follow) element.scrollTop = element.scrollHeight;
    else if (anchor.current) {
      const at = indexAt(lines, anchor.current.start);
      if (at >= 0) element.scrollTop = topOf(at) + anchor.current.offset;
    }
    measure();
  }, [lines, total, follow]);
  const target = targetIndex(lines, line, numbered);
  useLayoutEffect(() => {
    const element = frame.current;
    if (element && target >= 0 && !follow) element.scrollTop = Math.max(0, topOf(target) - element.clientHeight / 2);
  }, [line, target >= 0, window]);
  const first = Math.max(0, lineAt(tops, view.top) - MARGIN_LINES);
  const last = Math.min(lines.length, lineAt(tops, view.top + view.height) + MARGIN_LINES);
  const onScroll = () => {
    const element = frame.current;
    if (!element) return;
    const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
    const index = Math.min(lines.length - 1, lineAt(tops, element.scrollTop));
    const top = lines[index];
    if (top) anchor.current = { start: top.start, offset: element.scrollTop - topOf(index) };
    if (!atEnd && follow && element.scrollTop < view.top) setFollow(false);
    measure();
    if (filtered) return;
    if (element.scrollTop < 400 && window.state.buffer.first > 0) void window.readBefore();
    if (atEnd && !window.atEnd) void window.readAfter();
  };
  return (
    <section
      class={wrap ? "log-lines wrap" : "log-lines"}
      ref={frame}
      onScroll={onScroll}
      tabIndex={0}
      aria-label="Log"
    >
      <div class="log-canvas" style={{ height: `${total}px` }}>
        <div style={{ transform: `translateY(${topOf(first)}px)` }}>
          {lines.slice(first, last).map((one, offset) => {
            const name = numbered ? String(first + offset + 1) : `@${one.start}`;
            return (
              <div key={one.start} class={`log-line${name === line ? " marked" : ""}${levelClass(one.text)}`}>
                <button
                  type="button"
                  tabIndex={-1}
                  class="log-number"
                  title="Link to this line"
                  aria-label={`Link to line ${name}`}
                  onClick={() => onLine(name === line ? undefined : name)}
                >
                  {numbered ? name : "·"}
                </button>
                <LineText text={one.text} />
              </div>
            );
          })}
        </div>
      </div>
    </section>
  );
}

function useFrameSize(frame: RefObject<HTMLDivElement>, measure: () => void): void {
  useEffect(() => {
    if (!frame.current) return undefined;
    const observer = new ResizeObserver(measure);
    observer.observe(frame.current);
    return () => observer.disconnect();
  }, []);
}

function LineText({ text }: { text: string }) {
  const cut = text.length > CHARS_MAX ? text.slice(0, CHARS_MAX) : text;
  const more = text.length > CHARS_MAX ? <i class="muted"> … {text.length - CHARS_MAX} more characters</i> : null;
  let content: ComponentChildren = plainText(cut);
  if (hasAnsi(cut)) {
    content = ansiSpans(cut).map((span, index) => (
      <span key={index} class={span.classes || undefined} style={spanStyle(span.color, span.background)}>
        {span.text}
      </span>
    ));
  }
  return (
    <span class="log-text">
      {content}
      {more}
    </span>
  );
}

function spanStyle(color: string | undefined, background: string | undefined) {
  if (!color && !background) return undefined;
  return { ...(color ? { color } : {}), ...(background ? { background } : {}) };
}

const LEVELS = /\b(?:(ERROR|CRITICAL|FATAL|Traceback)|(WARN(?:ING)?))\b/;

function levelClass(text: string): string {
  const found = LEVELS.exec(text.length > 300 ? text.slice(0, 300) : text);
  if (!found) return "";
  return found[1] ? " level-error" : " level-warning";
}

function matcherOf(words: string): ((text: string) => boolean) | undefined {
  const wanted = words.trim().toLowerCase();
  return wanted ? (text) => plainText(text).toLowerCase().includes(wanted) : undefined;
}

function positionOf(line: string | undefined): number | undefined {
  if (line === undefined) return undefined;
  return line.startsWith("@") ? Number(line.slice(1)) || 0 : 0;
}

function targetIndex(lines: readonly LogLine[], line: string | undefined, numbered: boolean): number {
  if (!line) return -1;
  if (line.startsWith("@")) return indexAt(lines, Number(line.slice(1)));
  return numbered ? Math.min(lines.length, Number(line) || 0) - 1 : -1;
}

/** Return the index of the line that begins at a position, or of the next one. */
function indexAt(lines: readonly LogLine[], start: number): number {
  let [low, high] = [0, lines.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((lines[middle]?.start ?? 0) < start) low = middle + 1;
    else high = middle;
  }
  return low < lines.length ? low : -1;
}

/** Return the rows that a line takes: a message may have line breaks of its own. */
function rowsOf(line: string, columns: number): number {
  if (line.length * 2 < columns && !line.includes("\n") && !line.includes("\t")) return 1;
  let rows = 0;
  for (const part of plainText(line.slice(0, CHARS_MAX)).split("\n")) {
    rows += Math.max(1, Math.ceil(cellsOf(part) / columns));
  }
  return rows;
}

/** Return the upper edges of lines, and the height of all at the end. */
function topsOf(lines: readonly LogLine[], columns: number): Float64Array {
  const tops = new Float64Array(lines.length + 1);
  lines.forEach((line, index) => {
    tops[index + 1] = (tops[index] ?? 0) + rowsOf(line.text, columns) * LINE_PX;
  });
  return tops;
}

/** Return the width of a text in cells: wide characters take two, and a tab at most eight. */
function cellsOf(text: string): number {
  let cells = text.length;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 9) cells += 7;
    else if (code >= 0x1100) cells += 1;
  }
  return cells;
}

function lineAt(tops: Float64Array, y: number): number {
  let [low, high] = [0, tops.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((tops[middle] ?? 0) <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Width of a digit in the font of the log at 12 px, measured once; and of the column of numbers. */
let charPx = 0;
const NUMBER_PX = 64;

function columnsOf(element: HTMLElement): number {
  if (charPx === 0) {
    const probe = document.createElement("span");
    probe.className = "log-text";
    probe.textContent = "0".repeat(50);
    probe.style.position = "absolute";
    element.append(probe);
    charPx = probe.getBoundingClientRect().width / 50;
    probe.remove();
  }
  return Math.max(10, Math.floor((element.clientWidth - NUMBER_PX) / (charPx || 7.2)));
}

function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(0)} kB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

function percentText(share: number): string {
  return share < 1 ? `, ${Math.round(share * 100)} % searched` : "";
}
