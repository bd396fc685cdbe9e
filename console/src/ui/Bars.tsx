/** Bars of durations, one per run, in the colours and patterns of phases. */
import type { PhaseGroup } from "../model/phases.ts";

export interface Bar {
  key: string;
  ms: number;
  group: PhaseGroup;
  /** Shown in the tooltip: name, phase, duration. */
  title: string;
  href?: string;
}

/** Smallest share of the height, so that short runs stay visible. */
const HEIGHT_MIN = 0.08;

/** Return the height of a bar as a share of the highest; a square root keeps short ones apart. */
export function barHeight(ms: number, longest: number): number {
  return longest <= 0 ? HEIGHT_MIN : Math.max(HEIGHT_MIN, Math.sqrt(Math.max(0, ms) / longest));
}

/**
 * Draw bars, the oldest first.
 *
 * @param label Says what the bars show, for screen readers; the table below has the same data.
 * @param small The size of a table's row.
 */
export function Bars({ bars, label, small = false }: { bars: readonly Bar[]; label: string; small?: boolean }) {
  const longest = Math.max(0, ...bars.map((bar) => bar.ms));
  return (
    // An image must hold no links, even where they are no tab stops.
    <div class={small ? "bars small" : "bars"} role={bars.some((bar) => bar.href) ? "group" : "img"} aria-label={label}>
      {bars.map((bar) => {
        const inside = <span class="bar" style={{ height: `${100 * barHeight(bar.ms, longest)}%` }} />;
        const shared = { class: `phase-${bar.group}`, title: bar.title };
        // One tab stop would be needed for each bar; the rows of the table are the keyboard's way to the same pages.
        return bar.href ? (
          <a key={bar.key} {...shared} href={bar.href} tabIndex={-1} aria-hidden="true">
            {inside}
          </a>
        ) : (
          <span key={bar.key} {...shared}>
            {inside}
          </span>
        );
      })}
    </div>
  );
}
