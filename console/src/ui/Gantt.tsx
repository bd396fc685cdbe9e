/** Bars on a time axis: the axis of the header, and the segments of one row. */
import { phaseGroup, phaseLabel } from "../model/phases.ts";
import { axisMarks, fraction, type Range, type Segment } from "../model/timeline.ts";
import { durationText } from "../model/times.ts";

/** Marks of the axis, from the start of the execution. */
export function Axis({ range, originMs, marksMax }: { range: Range; originMs: number; marksMax: number }) {
  return (
    <div class="axis" aria-hidden="true">
      {axisMarks(range, originMs, marksMax).map(({ left, last, text }) => (
        <span key={left} class={last ? "axis-mark last" : "axis-mark"} style={{ left: percent(left) }}>
          {text}
        </span>
      ))}
    </div>
  );
}

/** The segments of one row. A segment is at least two pixels wide. */
export function Bar({ range, segments }: { range: Range; segments: readonly Segment[] }) {
  return (
    <div class="bar">
      {segments.map((segment, index) => {
        const left = fraction(range, segment.startMs);
        const width = fraction(range, segment.endMs) - left;
        if (segment.endMs < range.startMs || segment.startMs > range.endMs) return null;
        return (
          <span
            key={index}
            class={`segment segment-${segment.kind} phase-${phaseGroup(segment.phase)}`}
            style={{ left: percent(left), width: percent(width) }}
          />
        );
      })}
    </div>
  );
}

/** Return a segment as text: "attempt 2 ran 4.1s, Failed". */
export function segmentText(segment: Segment): string {
  const attempt = segment.attempt === undefined ? "" : `attempt ${segment.attempt + 1} `;
  const length = durationText(segment.endMs - segment.startMs);
  return segment.kind === "queued"
    ? `${attempt}queued ${length}`
    : `${attempt}ran ${length}, ${phaseLabel(segment.phase)}`;
}

function percent(value: number): string {
  return `${(value * 100).toFixed(3)}%`;
}
