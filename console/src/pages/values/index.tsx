/** Inputs or outputs of an execution, a node or an attempt. */

import type { Schema } from "../../api/client.ts";
import { printPython } from "../../api/json.ts";
import { pythonOfLiteral, remoteSnippet } from "../../model/commands.ts";
import { bytesText } from "../../model/preview.ts";
import { treeOfLiteral } from "../../model/valueTree.ts";
import type { Place } from "../../routes.ts";
import { zone } from "../../store.ts";
import { Json } from "../../ui/Json.tsx";
import { Preview } from "./Preview.tsx";
import "./style.css";

interface Props {
  /** What the values are, such as "inputs"; names the tree and the copies. */
  label: string;
  literals: Schema<"core.LiteralMap"> | null | undefined;
  place: Place;
  /** `flyte://…/i` or `/o`, for the FlyteRemote snippet. */
  flyteUrl?: string | undefined;
  /** Where the values lie, in replies that leave large ones out. */
  stored?: Schema<"admin.UrlBlob"> | null | undefined;
  /** Shown where there are none. */
  empty?: string;
}

/** Show values as a tree with types, search, copies and previews of files and tables. */
export function Values({ label, literals, place, flyteUrl, stored, empty }: Props) {
  const found = literals?.literals ?? {};
  const names = Object.keys(found);
  if (names.length === 0) {
    const bytes = Number(stored?.bytes ?? 0);
    if (bytes > 0) {
      return (
        <p class="muted">
          The {label} are too large to be sent: {bytesText(bytes)} at <code>{stored?.url}</code>
        </p>
      );
    }
    return <p class="muted">{empty ?? `There are no ${label}.`}</p>;
  }
  const root = treeOfLiteral({ map: { literals: found } }, zone.value === "utc" ? "utc" : "local");
  const python = (): string =>
    `{
${names
  .map(
    (name) => `    ${printPython(name)}: ${pythonOfLiteral(found[name] ?? {})},
`,
  )
  .join("")}}`;
  const copies = [{ name: "Python", text: python }];
  if (flyteUrl) copies.push({ name: "FlyteRemote", text: () => remoteSnippet(flyteUrl, place.project, place.domain) });
  return <Json root={root} label={label} copies={copies} placeView={Preview} />;
}
