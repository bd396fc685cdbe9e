import type { PageProps } from "../../routes.ts";

export default function VersionPage(_: PageProps<"version">) {
  return <h1>Version</h1>;
}
