import type { PageProps } from "../../routes.ts";

export default function SearchPage(_: PageProps<"search">) {
  return <h1>Search</h1>;
}
