import type { PageProps } from "../../routes.ts";

export default function TasksPage(_: PageProps<"tasks">) {
  return <h1>Tasks</h1>;
}
