/** Times in the zone that the user chose, and durations. Running ones tick once a second, all by one timer. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { fullTime, relativeTime, shortTime } from "../model/clock.ts";
import { durationText } from "../model/times.ts";
import { zone } from "../store.ts";

const tick = signal(Date.now());
let readers = 0;
let timer: ReturnType<typeof setInterval> | undefined;

/** Return the present in ms since 1970 for a component, again each second while `active`. */
export function useNow(active = true): number {
  useEffect(() => {
    if (!active) return undefined;
    readers += 1;
    if (readers === 1)
      timer = setInterval(() => {
        if (!document.hidden) tick.value = Date.now();
      }, 1000);
    return () => {
      readers -= 1;
      if (readers === 0) clearInterval(timer);
    };
  }, [active]);
  // The tick may be old where no component has read it for a while.
  return active ? Math.max(tick.value, Date.now() - 1000) : Date.now();
}

/** A time as the API sends it, a Date, or ms since 1970. */
export type Instant = string | Date | number | null | undefined;

/** Return ms since 1970; NaN where there is no time. */
export function instantMs(at: Instant): number {
  if (at === null || at === undefined || at === "") return Number.NaN;
  return typeof at === "number" ? at : new Date(at).getTime();
}

/** Show a time in the chosen zone, with the other forms in its tooltip. Nothing where there is none. */
export function Time({ at, relative = false }: { at: Instant; relative?: boolean }) {
  const chosen = zone.value;
  const isRelative = relative || chosen === "relative";
  const now = useNow(isRelative);
  const ms = instantMs(at);
  if (Number.isNaN(ms)) return null;
  const title = [fullTime(ms, "local"), fullTime(ms, "utc"), relativeTime(ms, now)].join("\n");
  return (
    <time dateTime={new Date(ms).toISOString()} title={title} class="nowrap">
      {isRelative ? relativeTime(ms, now) : shortTime(ms, chosen === "utc" ? "utc" : "local", now)}
    </time>
  );
}

interface DurationProps {
  ms?: number | undefined;
  from?: Instant;
  to?: Instant;
}

/**
 * Show a duration: `ms`, or from `from` to `to`; without `to` it runs. Where the server's clock is ahead of the
 * browser's, a running one shows 0.
 */
export function Duration({ ms, from, to }: DurationProps) {
  const start = instantMs(from);
  const end = instantMs(to);
  const running = ms === undefined && !Number.isNaN(start) && Number.isNaN(end);
  const now = useNow(running);
  const length = ms ?? (running ? now : end) - start;
  if (Number.isNaN(length)) return null;
  return <span class="nowrap">{durationText(Math.max(0, running ? Math.floor(length / 1000) * 1000 : length))}</span>;
}
