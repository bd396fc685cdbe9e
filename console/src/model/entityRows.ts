/** The rows of the lists of workflows, tasks and launch plans, joined in the browser from a few lists. */
import { matches } from "./find.ts";
import { type Kind, type Launched, lastRuns, type Version, versionsByName } from "./lastRuns.ts";

type Maybe<T> = T | null | undefined;

/** A name as the list of named entities has it. */
export interface Named {
  readonly id?: Maybe<{ readonly name?: Maybe<string> }>;
  readonly metadata?: Maybe<{ readonly state?: Maybe<string>; readonly description?: Maybe<string> }>;
}

/** One row: a name with its versions and executions, the newest first. */
export interface EntityRow<V, R> {
  readonly name: string;
  readonly archived: boolean;
  readonly description: string;
  readonly versions: readonly V[];
  /** Whether older versions may exist than those in `versions`. */
  readonly olderVersions: boolean;
  readonly runs: readonly R[];
}

/** The lists that rows are joined from; a list that is not read yet is undefined. */
export interface Lists<V, R> {
  readonly names: readonly Named[];
  readonly versions: { readonly items: readonly V[]; readonly token: string } | undefined;
  readonly runs: readonly R[] | undefined;
}

/** Names of workflows and launch plans that the server makes for executions of single tasks begin with this. */
const GENERATED = ".flytegen.";

/** Join lists into rows, in the order of the names. */
export function entityRows<V extends Version, R extends Launched>(lists: Lists<V, R>, kind: Kind): EntityRow<V, R>[] {
  const versions = versionsByName(lists.versions?.items ?? []);
  const runs = lastRuns(lists.runs ?? [], kind);
  const shown = lists.names.filter((named) => !named.id?.name?.startsWith(GENERATED));
  return shown.map((named) => {
    const name = named.id?.name ?? "";
    return {
      name,
      archived: named.metadata?.state === "NAMED_ENTITY_ARCHIVED",
      description: named.metadata?.description ?? "",
      versions: versions.get(name) ?? [],
      olderVersions: Boolean(lists.versions?.token),
      runs: runs.get(name) ?? [],
    };
  });
}

/** How a list is restricted and sorted. */
export interface View {
  readonly text: string;
  readonly archived: boolean;
  readonly sort: "name" | "run";
}

/** Return the rows of a view. A text sorts by how well names match it. */
export function shownRows<V, R extends { readonly closure?: Maybe<{ readonly created_at?: Maybe<string> }> }>(
  rows: readonly EntityRow<V, R>[],
  { text, archived, sort }: View,
): EntityRow<V, R>[] {
  const kept = rows.filter((row) => row.archived === archived);
  if (text.trim()) return matches(kept, text, (row) => row.name);
  if (sort === "name") return kept;
  const newest = (row: EntityRow<V, R>): string => row.runs[0]?.closure?.created_at ?? "";
  return [...kept].sort((left, right) => newest(right).localeCompare(newest(left)));
}
