import { type FilterKey, filtersText, type Token } from "../../api/filters.ts";
import type { EntityKind } from "../../routes.ts";

const KEYS: Readonly<Record<EntityKind, FilterKey>> = { workflow: "workflow", task: "task", launch_plan: "lp" };

/** Return the filter of the list of executions for those of an entity, or of one of its versions. */
export function executionsFilter(kind: EntityKind, name: string, version?: string): string {
  const tokens: Token[] = [{ key: KEYS[kind], values: [`=${name}`], exclude: false }];
  // The list filters by versions of workflows; an execution of a task has one of its own.
  if (version !== undefined && kind === "workflow") tokens.push({ key: "version", values: [version], exclude: false });
  return filtersText(tokens);
}
