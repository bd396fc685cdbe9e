import type { ScheduleState } from "../../model/schedule.ts";
import { toast } from "../../ui/announce.ts";
import { type Ask, scheduleItems } from "./planDialogs.tsx";

/** The actions that the state of a schedule allows, as buttons. */
export function ScheduleActions({ state, ask }: { state: ScheduleState; ask: (asked: Ask) => void }) {
  return (
    <span class="row tight">
      {scheduleItems(state, ask).map((item) => (
        <button
          key={String(item.label)}
          type="button"
          class="button"
          title={item.reason}
          aria-description={item.reason}
          aria-disabled={item.reason ? true : undefined}
          onClick={() => (item.reason ? toast(item.reason, { failed: true }) : item.onSelect?.())}
        >
          {item.label}
        </button>
      ))}
    </span>
  );
}
