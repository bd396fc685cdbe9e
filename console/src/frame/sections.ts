/** The lists of a place, as the navigation, the keys and the palette name them. */

import type { PageName } from "../routes.ts";
import type { IconName } from "../ui/Icon.tsx";

export interface Section {
  list: "executions" | "workflows" | "tasks" | "launchPlans" | "schedules" | "settings";
  text: string;
  icon: IconName;
  keys: string;
}

export const SECTIONS: readonly Section[] = [
  { list: "executions", text: "Executions", icon: "list", keys: "g e" },
  { list: "workflows", text: "Workflows", icon: "graph", keys: "g w" },
  { list: "tasks", text: "Tasks", icon: "task", keys: "g t" },
  { list: "launchPlans", text: "Launch plans", icon: "rocket", keys: "g l" },
  { list: "schedules", text: "Schedules", icon: "calendar", keys: "g s" },
];

/** The section that a page belongs to. */
export function sectionOf(page: PageName, kind?: string): Section["list"] | null {
  switch (page) {
    case "execution":
    case "executions":
    case "compare":
      return "executions";
    case "entity":
    case "version":
    case "launch":
      return kind === "task" ? "tasks" : kind === "launch_plan" ? "launchPlans" : "workflows";
    case "grid":
      return "workflows";
    case "workflows":
    case "tasks":
    case "launchPlans":
    case "schedules":
    case "settings":
      return page;
    case "cache":
      return "settings";
    default:
      return null;
  }
}
