import type { PageProps } from "../../routes.ts";

export default function EntityPage(_: PageProps<"entity">) {
  return <h1>Entity</h1>;
}
