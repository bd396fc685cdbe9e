import type { PageProps } from "../../routes.ts";

export default function WorkflowsPage(_: PageProps<"workflows">) {
  return <h1>Workflows</h1>;
}
