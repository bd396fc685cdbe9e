import type { PageProps } from "../../routes.ts";

export default function GridPage(_: PageProps<"grid">) {
  return <h1>Grid</h1>;
}
