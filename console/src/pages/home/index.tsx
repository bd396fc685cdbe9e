import type { PageProps } from "../../routes.ts";

export default function HomePage(_: PageProps<"home">) {
  return <h1>Home</h1>;
}
