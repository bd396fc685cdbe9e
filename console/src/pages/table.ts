/** The module of each page, loaded when it is opened. */
import type { ComponentType } from "preact";
import type { PageName } from "../routes.ts";

// Each module's default export takes the fields of its route, which `PageProps` names.
type Module = { default: ComponentType<never> };

export const PAGES: Record<PageName, () => Promise<Module>> = {
  home: () => import("./home/index.tsx"),
  projects: () => import("./projects/index.tsx"),
  executions: () => import("./executions/index.tsx"),
  execution: () => import("./execution/index.tsx"),
  workflows: () => import("./workflows/index.tsx"),
  tasks: () => import("./tasks/index.tsx"),
  launchPlans: () => import("./launchPlans/index.tsx"),
  schedules: () => import("./schedules/index.tsx"),
  search: () => import("./search/index.tsx"),
  settings: () => import("./settings/index.tsx"),
  cache: () => import("./cache/index.tsx"),
  compare: () => import("./compare/index.tsx"),
  entity: () => import("./entity/index.tsx"),
  version: () => import("./version/index.tsx"),
  grid: () => import("./grid/index.tsx"),
  launch: () => import("./launch/index.tsx"),
};
