import type { PageProps } from "../../routes.ts";

export default function SettingsPage(_: PageProps<"settings">) {
  return <h1>Settings</h1>;
}
