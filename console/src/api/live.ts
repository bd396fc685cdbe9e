/**
 * Data that is read again and again: one timer and one copy per key, shared by all components.
 *
 * The next read starts after the answer of the last one. A hidden tab reads nothing, and once when it is shown again. A
 * failure of the server or network is retried after 1, 2, 4 … 60 s; a refusal (4xx) is never retried. This is the place
 * for server-sent events, should a measurement ask for them.
 */
import { type Signal, signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ApiError } from "./client.ts";

/** State of one key. Data stays while it is read again and while reads fail. */
export interface Live<T> {
  readonly data: T | undefined;
  readonly error: ApiError | undefined;
  /** Time of the last answer, in ms since 1970; 0 before it. */
  readonly at: number;
}

/**
 * Read the data.
 *
 * @param before The data of the last read, to ask for changes only.
 */
export type Fetch<T> = (signal: AbortSignal, before: T | undefined, background: boolean) => Promise<T>;

/** Return the time until the next read in ms; null for none. */
export type Interval<T> = (data: T) => number | null;

const RETRY_MS = [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000];
/** Time in ms that data without a reader is kept, for a return to the page. */
const KEEP_MS = 30_000;
/** Entries without a reader beyond this number are dropped, the oldest first. */
const IDLE_MAX = 20;

export const paused: Signal<boolean> = signal(false);

class Entry<T> {
  readonly state: Signal<Live<T>> = signal<Live<T>>({ data: undefined, error: undefined, at: 0 });
  readers = 0;
  idleSince = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private running: AbortController | undefined;
  private again = false;
  private failures = 0;
  private due = false;

  constructor(
    public fetch: Fetch<T>,
    public interval: Interval<T>,
  ) {}

  /** Read now, or once more after the read that is under way. */
  async refresh(background = false): Promise<void> {
    if (this.running) {
      this.again = !background || this.again;
      return;
    }
    clearTimeout(this.timer);
    this.due = false;
    const running = new AbortController();
    this.running = running;
    const before = this.state.peek();
    try {
      const data = await this.fetch(running.signal, before.data, background);
      if (running.signal.aborted) return;
      this.failures = 0;
      this.state.value = { data, error: undefined, at: Date.now() };
      this.plan(this.interval(data));
    } catch (error) {
      if (running.signal.aborted) return;
      const shown = error instanceof ApiError ? error : new ApiError("console", 0, undefined, String(error));
      this.state.value = { ...before, error: shown };
      this.plan(shown.isTransient ? (RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)] ?? null) : null);
      if (!(error instanceof ApiError)) throw error;
    } finally {
      if (this.running === running) this.running = undefined;
    }
    if (this.again) {
      this.again = false;
      void this.refresh();
    }
  }

  private plan(ms: number | null): void {
    if (ms === null || this.readers === 0) return;
    this.timer = setTimeout(() => this.tick(), ms);
  }

  private tick(): void {
    if (document.hidden || paused.peek()) this.due = true;
    else void this.refresh(true);
  }

  /** Read now where a read was left out. */
  resume(): void {
    if (this.due && this.readers > 0) void this.refresh(true);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.running?.abort();
    this.running = undefined;
  }
}

// The entry's type is known to the component that made the key.
const entries = new Map<string, Entry<unknown>>();

function dropIdle(): void {
  const idle = [...entries].filter(([, entry]) => entry.readers === 0).sort((a, b) => a[1].idleSince - b[1].idleSince);
  const expired = Date.now() - KEEP_MS;
  idle.forEach(([key, entry], index) => {
    if (entry.idleSince < expired || idle.length - index > IDLE_MAX) entries.delete(key);
  });
}

/** Read the key again now; do nothing where no component reads it. */
export function refresh(key: string): void {
  void entries.get(key)?.refresh();
}

/** Read all keys that start with a prefix again, after an action that changes them. */
export function refreshAll(prefix: string): void {
  for (const [key, entry] of entries) {
    if (!key.startsWith(prefix)) continue;
    if (entry.readers > 0) void entry.refresh();
    else entries.delete(key);
  }
}

/** Read a key until the returned function is called; `useLive` does so for a component. */
export function subscribe<T>(key: string, fetch: Fetch<T>, interval: Interval<T>): [Entry<T>, () => void] {
  let entry = entries.get(key) as Entry<T> | undefined;
  if (entry) {
    entry.fetch = fetch;
    entry.interval = interval;
  } else {
    entry = new Entry(fetch, interval);
    entries.set(key, entry as Entry<unknown>);
  }
  const found = entry;
  found.readers += 1;
  if (found.readers === 1) void found.refresh(found.state.peek().data !== undefined);
  return [
    found,
    () => {
      found.readers -= 1;
      if (found.readers > 0) return;
      found.idleSince = Date.now();
      found.stop();
      dropIdle();
    },
  ];
}

const NOTHING: Live<never> = { data: undefined, error: undefined, at: 0 };

/**
 * Read data for a component, again at the interval while the component is shown.
 *
 * @param key Names the data; components with the same key share it. Null reads nothing.
 * @param fetch Reads the data.
 * @param interval Time until the next read in ms, or a function of the data; null reads once.
 */
export function useLive<T>(key: string | null, fetch: Fetch<T>, interval: number | null | Interval<T> = null): Live<T> {
  const current = useMemo(() => signal<{ key: string; state: Signal<Live<T>> } | null>(null), []);
  const next: Interval<T> = typeof interval === "function" ? interval : () => interval;
  useEffect(() => {
    if (key === null) return undefined;
    const [entry, end] = subscribe(key, fetch, next);
    current.value = { key, state: entry.state };
    return end;
    // A new function of the same key changes nothing.
  }, [key]);
  const found = current.value;
  if (key === null) return NOTHING;
  // A page that is opened again shows the kept data at once.
  const state = found?.key === key ? found.state : (entries.get(key)?.state as Signal<Live<T>> | undefined);
  return state?.value ?? NOTHING;
}

/** Read again what was left out while the tab was hidden or the user paused. */
function resumeAll(): void {
  if (document.hidden || paused.peek()) return;
  for (const entry of entries.values()) entry.resume();
}

if (typeof document !== "undefined") {
  document.addEventListener("visibilitychange", resumeAll);
  paused.subscribe(resumeAll);
}
