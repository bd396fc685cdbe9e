import { reasonOf, type ScheduleState, type ScheduleStatus, statusOf } from "../../model/schedule.ts";

const TEXTS: Readonly<Record<ScheduleStatus, readonly [text: string, icon: string]>> = {
  running: ["On", "▶"],
  paused: ["Paused", "❙❙"],
  trouble: ["Trouble", "!"],
  never: ["Never fires", "!"],
  off: ["Off", "–"],
};

/** The status of a schedule as icon and text; the reason is the tooltip. */
export function ScheduleBadge({ state }: { state: ScheduleState }) {
  const status = statusOf(state);
  const [text, icon] = TEXTS[status];
  return (
    <span class={`schedule-badge schedule-${status}`} title={reasonOf(state) || undefined}>
      <span aria-hidden="true">{icon}</span> {text}
    </span>
  );
}
