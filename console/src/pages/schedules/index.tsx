import type { PageProps } from "../../routes.ts";

export default function SchedulesPage(_: PageProps<"schedules">) {
  return <h1>Schedules</h1>;
}
