/** Bars of the last hundred: height is duration, colour and pattern are the phase. A click opens, a drag is a time range. */
import { useRef, useState } from "preact/hooks";
import { phaseGroup, phaseLabel } from "../../model/phases.ts";
import type { Run } from "../../model/runs.ts";
import { durationText } from "../../model/times.ts";
import { links, type Place } from "../../routes.ts";
import { type Bar, barHeight } from "../../ui/Bars.tsx";
import { useNow } from "../../ui/Time.tsx";

const BARS_MAX = 100;
/** A row is stored later than its creation, by which it is shown; filters compare the time of storing. */
const STORED_MS = 1000;

interface RunBarsProps {
  place: Place;
  rows: readonly Run[];
  /** The user chose the time from the first to the last bar of a drag, in ms since 1970. */
  onRange: (fromMs: number, toMs: number) => void;
}

export function RunBars({ place, rows, onRange }: RunBarsProps) {
  const last = rows.slice(0, BARS_MAX).reverse();
  const now = useNow(last.some((run) => run.ms === undefined));
  const from = useRef<number | null>(null);
  const [range, setRange] = useState<[number, number] | null>(null);
  const bars = last.map((run): Bar => {
    const ms = run.ms ?? Math.max(0, now - new Date(run.startedAt ?? now).getTime());
    const title = `${run.name}: ${phaseLabel(run.phase)}, ${durationText(ms)}\n${run.entity.name}`;
    return { key: run.name, ms, group: phaseGroup(run.phase), title, href: links.execution(place, run.name) };
  });
  const longest = Math.max(0, ...bars.map((bar) => bar.ms));
  const indexOf = (event: PointerEvent) => {
    const bar = (document.elementFromPoint(event.clientX, event.clientY) as HTMLElement | null)?.closest("[data-bar]");
    return bar ? Number((bar as HTMLElement).dataset.bar) : null;
  };
  const end = (event: PointerEvent) => {
    const start = from.current;
    const to = indexOf(event);
    from.current = null;
    setRange(null);
    if (start === null || to === null || start === to) return;
    const [first, second] = [last[Math.min(start, to)], last[Math.max(start, to)]];
    if (first && second) onRange(first.createdMs, second.createdMs + STORED_MS);
  };
  const failed = last.filter((run) => phaseGroup(run.phase) === "failed").length;
  return (
    <figure class="card run-bars">
      <div
        class="bars"
        role="group"
        aria-label={`Durations of the last ${bars.length} executions, ${failed} of them failed. The table has the same.`}
        onPointerDown={(event) => {
          from.current = indexOf(event);
        }}
        onPointerMove={(event) => {
          const at = indexOf(event);
          if (from.current !== null && at !== null && at !== from.current) setRange([from.current, at]);
        }}
        onPointerUp={end}
        onPointerLeave={() => {
          from.current = null;
          setRange(null);
        }}
      >
        {bars.map((bar, index) => {
          const chosen = range && index >= Math.min(...range) && index <= Math.max(...range);
          return (
            <a
              key={bar.key}
              data-bar={index}
              class={`phase-${bar.group}${chosen ? " chosen" : ""}`}
              title={bar.title}
              href={bar.href}
              draggable={false}
              tabIndex={-1}
              aria-hidden="true"
              onClick={(event) => {
                if (range) event.preventDefault();
              }}
            >
              <span class="bar" style={{ height: `${100 * barHeight(bar.ms, longest)}%` }} />
            </a>
          );
        })}
      </div>
      <figcaption class="small muted">
        last {bars.length}
        {longest > 0 && <>, longest {durationText(longest)}</>}
      </figcaption>
    </figure>
  );
}
