/** Inputs or outputs of an execution, a node or an attempt. */

import { useState } from "preact/hooks";
import type { Schema } from "../../api/client.ts";
import { printPython } from "../../api/json.ts";
import { literalMapOf } from "../../api/protobuf.ts";
import { pythonOfLiteral, remoteSnippet } from "../../model/commands.ts";
import { bytesText } from "../../model/preview.ts";
import { treeOfLiteral } from "../../model/valueTree.ts";
import type { Place } from "../../routes.ts";
import { zone } from "../../store.ts";
import { Json } from "../../ui/Json.tsx";
import { Preview } from "./Preview.tsx";
import { readStored } from "./stored.ts";
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

/** Values that are too large for a reply: they are read from the store when they are asked for. */
function StoredMap({ label, url, bytes, rest }: { label: string; url: string; bytes: number; rest: Rest }) {
  const [found, setFound] = useState<Props["literals"] | string>();
  const read = async (): Promise<void> => {
    setFound("Reading…");
    try {
      const raw = await readStored(url, bytes, new AbortController().signal);
      setFound(typeof raw === "string" ? raw : literalMapOf(raw));
    } catch (error) {
      setFound(error instanceof Error ? error.message : String(error));
    }
  };
  if (typeof found === "object") return <Values label={label} literals={found} {...rest} />;
  return (
    <div class="stack">
      <p class="muted">
        The {label} have {bytesText(bytes)}, which is more than this server sends at once.
      </p>
      {found ? (
        <p role="status">{found}</p>
      ) : (
        <button type="button" class="button small" onClick={() => void read()}>
          Read the {label} from the store
        </button>
      )}
    </div>
  );
}

type Rest = Pick<Props, "place" | "flyteUrl">;

/** Show values as a tree with types, search, copies and previews of files and tables. */
export function Values({ label, literals, place, flyteUrl, stored, empty }: Props) {
  const found = literals?.literals ?? {};
  const names = Object.keys(found);
  if (names.length === 0) {
    const bytes = Number(stored?.bytes ?? 0);
    if (bytes > 0) {
      return <StoredMap label={label} url={stored?.url ?? ""} bytes={bytes} rest={{ place, flyteUrl }} />;
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
