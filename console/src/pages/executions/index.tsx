import type { PageProps } from "../../routes.ts";

export default function ExecutionsPage(_: PageProps<"executions">) {
  return <h1>Executions</h1>;
}
