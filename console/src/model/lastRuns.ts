/** The last executions of each workflow, launch plan and task, grouped from one list of the newest executions. */

type Maybe<T> = T | null | undefined;

/** Executions that a list of entities reads to find the last ones of each entity. */
export const RUNS_READ = 500;

/** Bars of each entity. */
export const BARS = 10;

/** The resource types that an execution names. */
export type Kind = "WORKFLOW" | "TASK" | "LAUNCH_PLAN";

/** The parts of an execution that say what ran. */
export interface Launched {
  readonly spec?: Maybe<{
    readonly launch_plan?: Maybe<{ readonly resource_type?: Maybe<string>; readonly name?: Maybe<string> }>;
  }>;
  readonly closure?: Maybe<{ readonly workflow_id?: Maybe<{ readonly name?: Maybe<string> }> }>;
}

/** Return the name of the workflow, launch plan or task that an execution ran; undefined for another kind. */
export function ranEntity(execution: Launched, kind: Kind): string | undefined {
  const launched = execution.spec?.launch_plan;
  const task = launched?.resource_type === "TASK";
  if (task !== (kind === "TASK")) return undefined;
  const name = kind === "WORKFLOW" ? execution.closure?.workflow_id?.name : launched?.name;
  return name ?? undefined;
}

/**
 * Group executions by the entity that they ran.
 *
 * @param executions - The newest first.
 * @returns At most `BARS` executions of each name, the newest first.
 */
export function lastRuns<T extends Launched>(executions: readonly T[], kind: Kind): Map<string, T[]> {
  const found = new Map<string, T[]>();
  for (const execution of executions) {
    const name = ranEntity(execution, kind);
    if (name === undefined) continue;
    const runs = found.get(name) ?? [];
    if (runs.length < BARS) found.set(name, [...runs, execution]);
  }
  return found;
}

/** A named thing that has versions. */
export interface Version {
  readonly id?: Maybe<{ readonly name?: Maybe<string>; readonly version?: Maybe<string> }>;
  readonly closure?: Maybe<{ readonly created_at?: Maybe<string> }>;
}

/** Group versions by name, the newest first. */
export function versionsByName<T extends Version>(versions: readonly T[]): Map<string, T[]> {
  const found = new Map<string, T[]>();
  for (const version of versions) {
    const name = version.id?.name ?? "";
    found.set(name, [...(found.get(name) ?? []), version]);
  }
  for (const list of found.values()) list.sort((left, right) => timeOf(right).localeCompare(timeOf(left)));
  return found;
}

function timeOf(version: Version): string {
  return version.closure?.created_at ?? "";
}
