/** Which rows of a long list are in view, for lists that scroll with the page. */
import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useState } from "preact/hooks";

/** Rows [start, end) are drawn. */
export interface Range {
  start: number;
  end: number;
}

/** Rows beyond the window that are drawn, too. */
const SPARE = 12;
/** Lists up to this length are drawn whole. */
export const WHOLE_MAX = 150;
const NARROW = "(max-width: 720px)";

/**
 * Return the rows between two heights.
 *
 * @param top Distance in px from the first row's top to the top of the window; negative while the list is below it.
 */
export function rangeOf(top: number, height: number, count: number, rowHeight: number): Range {
  const start = Math.max(0, Math.floor(top / rowHeight) - SPARE);
  const end = Math.min(count, Math.ceil((top + height) / rowHeight) + SPARE);
  return { start: Math.min(start, count), end: Math.max(end, Math.min(count, SPARE)) };
}

/** Return whether the window is as narrow as a phone, where rows are blocks of different heights. */
export function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => window.matchMedia(NARROW).matches);
  useEffect(() => {
    const media = window.matchMedia(NARROW);
    const change = () => setNarrow(media.matches);
    media.addEventListener("change", change);
    return () => media.removeEventListener("change", change);
  }, []);
  return narrow;
}

/**
 * Return the rows to draw, as the page scrolls.
 *
 * @param body The element that holds the rows.
 * @param count Number of rows.
 * @param rowHeight Height of each row in px.
 * @param onEnd Called when the last row comes near, to load more.
 */
export function useWindow(body: RefObject<HTMLElement>, count: number, rowHeight: number, onEnd?: () => void): Range {
  const narrow = useNarrow();
  const whole = narrow || count <= WHOLE_MAX;
  const [range, setRange] = useState<Range>({ start: 0, end: Math.min(count, 60) });
  const update = () => {
    const rect = body.current?.getBoundingClientRect();
    if (!rect) return;
    if (onEnd && rect.bottom < window.innerHeight * 2) onEnd();
    if (whole) return;
    const next = rangeOf(-rect.top, window.innerHeight, count, rowHeight);
    setRange((now) => (now.start === next.start && now.end === next.end ? now : next));
  };
  useLayoutEffect(update, [count, rowHeight, whole]);
  useEffect(() => {
    let asked = 0;
    const onScroll = () => {
      cancelAnimationFrame(asked);
      asked = requestAnimationFrame(update);
    };
    window.addEventListener("scroll", onScroll, { passive: true });
    window.addEventListener("resize", onScroll);
    return () => {
      cancelAnimationFrame(asked);
      window.removeEventListener("scroll", onScroll);
      window.removeEventListener("resize", onScroll);
    };
  });
  return whole ? { start: 0, end: count } : { start: Math.min(range.start, count), end: Math.min(range.end, count) };
}
