import type { PageProps } from "../../routes.ts";

export default function ProjectsPage(_: PageProps<"projects">) {
  return <h1>Projects</h1>;
}
