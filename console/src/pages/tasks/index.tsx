import type { PageProps } from "../../routes.ts";
import { EntityList } from "../entities/EntityList.tsx";

/** The tasks of a project and domain. */
export default function TasksPage({ project, domain }: PageProps<"tasks">) {
  return <EntityList kind="task" place={{ project, domain }} />;
}
