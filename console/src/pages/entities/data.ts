/** Data that the pages of entities share. Keys begin with the operation id, so that actions can refresh them. */
import { type ApiError, api } from "../../api/client.ts";
import {
  activePlan,
  type Description,
  describe,
  type Execution,
  type LaunchPlan,
  type Listed,
  listActivePlans,
  listNames,
  listVersions,
  type NamedEntity,
  newestRuns,
  plansOfWorkflow,
  resourceType,
  VERSIONS_READ,
  type Versions,
} from "../../api/entities.ts";
import { type Live, refreshAll, useLive } from "../../api/live.ts";
import { listSchedules } from "../../api/schedules.ts";
import { asPhase, isTerminal } from "../../model/phases.ts";
import type { ScheduleState } from "../../model/schedule.ts";
import type { EntityKind, Place } from "../../routes.ts";

/** Time between two reads of executions in ms, while one is active and otherwise. */
const ACTIVE_MS = 3000;
const IDLE_MS = 15_000;

/** Time between two reads of schedules in ms. */
const SCHEDULES_MS = 10_000;

const scope = ({ project, domain }: Place): string => `${project} ${domain}`;

/** Return whether an execution runs or waits. */
export function runs(execution: Execution): boolean {
  return !isTerminal(asPhase(execution.closure?.phase));
}

/** The names of a kind with their states. */
export function useNames(kind: EntityKind, place: Place) {
  const key = `ListNamedEntities ${resourceType(kind)} ${scope(place)}`;
  return useLive<NamedEntity[]>(key, (signal, _, background) => listNames(kind, place, { signal, background }));
}

/** The newest executions of a place, read again while the page is shown. */
export function useNewestRuns(place: Place) {
  return useLive(
    `ListExecutions newest ${scope(place)}`,
    (signal, before: Execution[] | undefined, background) => newestRuns(place, { signal, background }, before),
    (found) => (found.some(runs) ? ACTIVE_MS : IDLE_MS),
  );
}

/** The newest versions of all names of a kind. */
export function useNewestVersions<K extends EntityKind>(kind: K, place: Place) {
  return useLive<Listed<Versions[K]>>(`ListVersions ${kind} ${scope(place)}`, (signal, _, background) =>
    listVersions(kind, place, { limit: VERSIONS_READ }, { signal, background }),
  );
}

/** The active launch plans of a place. */
export function useActivePlans(place: Place) {
  return useLive<LaunchPlan[]>(`ListActiveLaunchPlans ${scope(place)}`, (signal, _, background) =>
    listActivePlans(place, { signal, background }),
  );
}

/**
 * The states of schedules; `data` is null on a server without them.
 *
 * @param wanted Whether to ask at all: false where no launch plan has a schedule.
 */
export function useSchedules(place: Place, name: string | undefined, wanted: boolean): Live<ScheduleState[] | null> {
  return useLive(
    wanted ? `ListSchedules ${scope(place)} ${name ?? ""}` : null,
    (signal, _: ScheduleState[] | null | undefined, background) => listSchedules(place, name, { signal, background }),
    (found) => (found === null ? null : SCHEDULES_MS),
  );
}

/** The active version of one launch plan, null where none is active. */
export function useActivePlan(place: Place, name: string | null): Live<LaunchPlan | null> {
  return useLive<LaunchPlan | null>(
    name === null ? null : `GetActive ${scope(place)} ${name}`,
    (signal, _, background) => activePlan(place, name ?? "", { signal, background }),
  );
}

/** The launch plans of a workflow. */
export function usePlansOfWorkflow(place: Place, workflow: string | null): Live<LaunchPlan[]> {
  return useLive<LaunchPlan[]>(
    workflow === null ? null : `ListLaunchPlans of ${scope(place)} ${workflow}`,
    (signal, _, background) => plansOfWorkflow(place, workflow ?? "", { signal, background }),
  );
}

/** The description of a name, or of one of its versions. */
export function useDescription(kind: EntityKind, place: Place, name: string, version?: string) {
  const key = `GetDescription ${kind} ${scope(place)} ${name} ${version ?? ""}`;
  return useLive<Description | null>(kind === "launch_plan" ? null : key, (signal, _, background) =>
    describe(kind, place, name, version, { signal, background }),
  );
}

/** The state and description of a name. */
export function useNamedEntity(kind: EntityKind, place: Place, name: string): Live<NamedEntity> {
  const key = `GetNamedEntity ${resourceType(kind)} ${scope(place)} ${name}`;
  return useLive<NamedEntity>(key, (signal, _, background) =>
    api("GetNamedEntity", { path: { ...place, resource_type: resourceType(kind), name } }, { signal, background }),
  );
}

/** The newest version of a name; null where there is none. */
export function useNewestVersion<K extends EntityKind>(kind: K, place: Place, name: string): Live<Versions[K] | null> {
  return useLive<Versions[K] | null>(
    `ListVersions newest ${kind} ${scope(place)} ${name}`,
    async (signal, _, background) => {
      const { items } = await listVersions(kind, place, { name, limit: 1 }, { signal, background });
      return items[0] ?? null;
    },
  );
}

/** Read again what the activation, pause or archiving of a launch plan changes. */
export function refreshPlans(): void {
  for (const prefix of ["ListActive", "GetActive", "ListLaunchPlans", "ListVersions", "ListSchedules", "ListNamed"]) {
    refreshAll(prefix);
  }
}

/** Return the first error of several reads. */
export function firstError(...reads: readonly { readonly error: ApiError | undefined }[]): ApiError | undefined {
  return reads.find((one) => one.error)?.error;
}
