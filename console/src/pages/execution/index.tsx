import type { PageProps } from "../../routes.ts";

export default function ExecutionPage(_: PageProps<"execution">) {
  return <h1>Execution</h1>;
}
