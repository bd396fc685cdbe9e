import type { PageProps } from "../../routes.ts";

export default function ComparePage(_: PageProps<"compare">) {
  return <h1>Compare</h1>;
}
