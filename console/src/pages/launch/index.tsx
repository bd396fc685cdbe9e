import type { PageProps } from "../../routes.ts";

export default function LaunchPage(_: PageProps<"launch">) {
  return <h1>Launch</h1>;
}
