import type { PageProps } from "../../routes.ts";
import { EntityList } from "../entities/EntityList.tsx";

/** The workflows of a project and domain. */
export default function WorkflowsPage({ project, domain }: PageProps<"workflows">) {
  return <EntityList kind="workflow" place={{ project, domain }} />;
}
