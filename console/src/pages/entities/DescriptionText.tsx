import { useState } from "preact/hooks";
import type { Description } from "../../api/entities.ts";
import { DataLink } from "../../ui/Fields.tsx";

/** Characters of a long description that are shown before "Show all". */
const LONG_TEXT_MAX = 400;

const WEB_ADDRESS = /(https?:\/\/[^\s<>"'`)\]]+[^\s<>"'`)\].,;:!?])/g;

/** A description: the short one, the long one where it says more, and the link to the source. */
export function DescriptionText({ of }: { of: Description | null | undefined }) {
  const [whole, setWhole] = useState(false);
  const short = of?.short_description?.trim() ?? "";
  const long = longText(of, short);
  const source = of?.source_code?.link ?? "";
  if (!short && !long && !source) return null;
  const cut = !whole && long.length > LONG_TEXT_MAX;
  return (
    <div class="stack description-box">
      {short && (
        <p class="description">
          <Linked text={short} />
        </p>
      )}
      {long && (
        <p class="description muted">
          <Linked text={cut ? `${long.slice(0, LONG_TEXT_MAX)}… ` : long} />
          {cut && (
            <button type="button" class="button quiet small" onClick={() => setWhole(true)}>
              Show all
            </button>
          )}
        </p>
      )}
      {source && (
        <p class="small">
          Source: <DataLink href={source} />
        </p>
      )}
    </div>
  );
}

/** Return the long description without the short one, with which flytekit's often begins. */
function longText(of: Description | null | undefined, short: string): string {
  const long = of?.long_description?.value?.trim() ?? "";
  return (short && long.startsWith(short) ? long.slice(short.length) : long).trim();
}

/** Plain text whose web addresses are links. */
function Linked({ text }: { text: string }) {
  return (
    <>{text.split(WEB_ADDRESS).map((part, index) => (index % 2 === 1 ? <DataLink key={index} href={part} /> : part))}</>
  );
}
