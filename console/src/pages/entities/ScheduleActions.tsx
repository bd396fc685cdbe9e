import type { ScheduleState } from "../../model/schedule.ts";
import { type Ask, scheduleItems } from "./planDialogs.tsx";

/** The actions that the state of a schedule allows, as buttons. */
export function ScheduleActions({ state, ask }: { state: ScheduleState; ask: (asked: Ask) => void }) {
  return (
    <span class="row tight">
      {scheduleItems(state, ask).map((item) => (
        <button key={String(item.label)} type="button" class="button" onClick={item.onSelect}>
          {item.label}
        </button>
      ))}
    </span>
  );
}
