/** Schedules of launch plans. The routes are this server's own; on a server without them only launch plans say more. */
import type { ScheduleState } from "../model/schedule.ts";
import type { Place } from "../routes.ts";
import { ApiError, address, type CallOptions, request } from "./client.ts";

const LIST = "/api/v1/schedules/{project}/{domain}";
const ACTION = "/api/v1/schedules/{project}/{domain}/{name}/{version}/";

/** Schedules of one page; the server's own limit. */
const PAGE_ROWS = 1000;

/** Statuses by which a server says that it has no such route. */
const LACKING = new Set([404, 405, 501]);

let lacking = false;

/** One version of a launch plan. */
export interface PlanId extends Place {
  name: string;
  version: string;
}

/**
 * Return the first thousand schedules of a place, or all of one name.
 *
 * @returns Null where the server has no such route; it is not asked again then.
 * @throws ApiError as `api` does.
 */
export async function listSchedules(
  place: Place,
  name: string | undefined,
  options: CallOptions,
): Promise<ScheduleState[] | null> {
  if (lacking) return null;
  const template = name === undefined ? LIST : `${LIST}/{name}`;
  try {
    const url = address(template, { ...place, name }, { limit: PAGE_ROWS });
    const reply = await request("ListSchedules", url, { headers: { Accept: "application/json" } }, options);
    return ((await reply.json()) as { schedules: ScheduleState[] }).schedules;
  } catch (error) {
    if (!(error instanceof ApiError && LACKING.has(error.status))) throw error;
    lacking = true;
    return null;
  }
}

/** A slot of a backfill, with what became of it. */
export interface BackfillSlot {
  readonly slot: string;
  readonly execution: string;
  readonly outcome: "exists" | "would launch" | "launched";
}

/** Stop a schedule and keep the reason. The launch plan stays active. */
export async function pauseSchedule(plan: PlanId, reason: string): Promise<void> {
  await act(plan, "pause", { reason });
}

/** Start a schedule again; `catchUp` launches the slots since the pause, too. */
export async function resumeSchedule(plan: PlanId, catchUp: boolean): Promise<void> {
  await act(plan, "resume", { catch_up: catchUp });
}

/** Launch a scheduled launch plan now. Returns the name of the execution. */
export async function triggerSchedule(plan: PlanId): Promise<string> {
  return ((await act(plan, "trigger", {})) as { execution: string }).execution;
}

/** List the slots after `from` and up to `to`; without `dryRun`, launch those that have no execution. */
export async function backfillSchedule(
  plan: PlanId,
  given: { from: string; to: string; dryRun: boolean; force: boolean },
): Promise<BackfillSlot[]> {
  const body = { from: given.from, to: given.to, dry_run: given.dryRun, force: given.force };
  return ((await act(plan, "backfill", body, BACKFILL_TIMEOUT_MS)) as { slots: BackfillSlot[] }).slots;
}

/** Time for a backfill in ms: each slot is a launch. */
const BACKFILL_TIMEOUT_MS = 300_000;

async function act(plan: PlanId, action: string, body: unknown, timeoutMs?: number): Promise<unknown> {
  const reply = await request(
    `schedule ${action}`,
    address(ACTION + action, { ...plan }),
    {
      method: "POST",
      headers: { Accept: "application/json", "Content-Type": "application/json" },
      body: JSON.stringify(body),
    },
    timeoutMs === undefined ? {} : { timeoutMs },
  );
  return reply.json();
}
