import type { PageProps } from "../../routes.ts";

export default function LaunchPlansPage(_: PageProps<"launchPlans">) {
  return <h1>LaunchPlans</h1>;
}
