/** The projects and their domains, read once and shared. */

import { api, type Schema } from "../api/client.ts";
import { type Live, useLive } from "../api/live.ts";

export type Project = Schema<"admin.Project">;

/** Projects of one reply; more are found by search. */
const PROJECTS_MAX = 1000;
export const PROJECTS_KEY = "ListProjects";
const AGAIN_MS = 120_000;

/** Return the projects that are not archived, by name. */
export function useProjects(): Live<readonly Project[]> {
  return useLive<readonly Project[]>(
    PROJECTS_KEY,
    async (signal, _, background) => {
      const query = { limit: PROJECTS_MAX, "sort_by.key": "name", "sort_by.direction": "ASCENDING" } as const;
      const reply = await api("ListProjects", { query }, { signal, background });
      return reply.projects ?? [];
    },
    AGAIN_MS,
  );
}
