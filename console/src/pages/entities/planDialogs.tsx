/** The dialogs of launch plans and schedules. A page shows them, not the row of a table, whose keys they would get. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { ApiError } from "../../api/client.ts";
import { refreshAll } from "../../api/live.ts";
import { type PlanId, triggerSchedule } from "../../api/schedules.ts";
import { guarded } from "../../frame/Guarded.tsx";
import { navigate } from "../../location.ts";
import { type ScheduleState, statusOf } from "../../model/schedule.ts";
import { links, type Place } from "../../routes.ts";
import { toast } from "../../ui/announce.ts";
import type { MenuItem } from "../../ui/Menu.tsx";
import { ActivateDialog, DeactivateDialog } from "./ActivationDialog.tsx";
import { BackfillDialog } from "./BackfillDialog.tsx";
import { refreshPlans } from "./data.ts";
import { PauseDialog, ResumeDialog } from "./PauseDialogs.tsx";

/** A dialog: the activation of a launch plan, or an action on a schedule. */
export type Ask =
  | { what: "activate"; name: string; active: string | null; chosen?: string | undefined }
  | { what: "deactivate"; name: string; active: string }
  | { what: "pause" | "resume" | "backfill"; plan: PlanId };

export interface PlanDialogs {
  ask: (asked: Ask) => void;
  /** The open dialog; a page shows it. */
  dialog: ComponentChildren;
}

/** Return the dialogs of launch plans for a page. */
export function usePlanDialogs(place: Place): PlanDialogs {
  const [asked, ask] = useState<Ask | null>(null);
  return { ask, dialog: asked && dialogOf(asked, place, () => ask(null)) };
}

function dialogOf(asked: Ask, place: Place, onClose: () => void) {
  switch (asked.what) {
    case "activate":
      return (
        <ActivateDialog place={place} name={asked.name} active={asked.active} chosen={asked.chosen} onClose={onClose} />
      );
    case "deactivate":
      return <DeactivateDialog place={place} name={asked.name} active={asked.active} onClose={onClose} />;
    case "pause":
      return <PauseDialog plan={asked.plan} onClose={onClose} />;
    case "resume":
      return <ResumeDialog plan={asked.plan} onClose={onClose} />;
    case "backfill":
      return <BackfillDialog plan={asked.plan} onClose={onClose} />;
  }
}

/** Launch a scheduled launch plan now; the outcome is a message with a link. */
export async function launchNow(plan: PlanId): Promise<void> {
  try {
    const execution = await triggerSchedule(plan);
    refreshPlans();
    refreshAll("ListExecutions");
    toast(`Launched ${execution}`, {
      action: { label: "Open", run: () => navigate(links.execution(plan, execution)) },
    });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(`${plan.name} was not launched: ${error.message}`, { failed: true });
  }
}

/** Return the actions that the state of a schedule allows. */
export function scheduleItems(state: ScheduleState, ask: (asked: Ask) => void): MenuItem[] {
  const changes: MenuItem[] = [];
  if (statusOf(state) === "paused") {
    changes.push({ label: "Resume…", onSelect: () => ask({ what: "resume", plan: state }) });
  }
  if (state.active) changes.push({ label: "Pause…", onSelect: () => ask({ what: "pause", plan: state }) });
  return [
    ...guarded("register", state, changes),
    ...guarded("run", state, [
      { label: "Launch now", onSelect: () => void launchNow(state) },
      { label: "Backfill…", onSelect: () => ask({ what: "backfill", plan: state }) },
    ]),
  ];
}
