/** Literals of an execution or node, by name. */
import type { Literal } from "../../api/literals.ts";
import { Copy } from "../../ui/Copy.tsx";

export function Literals({ literals, remote, uri }: { literals: Readonly<Record<string, Literal>>; label: string; remote: string | undefined; uri: string | undefined }) {
  const text = JSON.stringify(literals, null, 2);
  return (
    <>
      <div class="row">
        <Copy text={text} label="Copy as JSON" />
        {remote && <Copy text={remote} label="Copy the call of FlyteRemote" />}
        {uri && <Copy text={uri} label="Copy the address" />}
      </div>
      <pre class="message">{text}</pre>
    </>
  );
}
