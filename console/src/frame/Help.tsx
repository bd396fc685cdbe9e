import { ROOT } from "../root.ts";
import { Dialog } from "../ui/Dialog.tsx";
import { commands } from "../ui/keys.ts";
import { helpOpen } from "./open.ts";
import { ServerState } from "./ServerState.tsx";

const TABLE: readonly [string, string][] = [
  ["j k", "next, previous row"],
  ["Enter", "open the row"],
  ["→ ←", "links and buttons of the row"],
  ["x", "select the row"],
  ["Shift x", "select up to the row"],
];

/** The keys of the page and of tables, the state of the server, and where to read more. */
export function Help() {
  const groups = Map.groupBy(
    commands.value.flatMap(({ group, commands: list }) => list.map((command) => ({ group, command }))),
    (one) => one.group,
  );
  return (
    <Dialog title="Help" onClose={() => (helpOpen.value = false)}>
      <div class="help">
        {[...groups].map(([group, list]) => (
          <Keys key={group} title={group} rows={list.map(({ command }) => [command.keys, command.text])} />
        ))}
        <Keys title="In tables" rows={TABLE} />
        <ServerState />
        <section>
          <h3>More</h3>
          <p>
            <a href={`${ROOT}/docs`} target="_blank" rel="noopener">
              The API of this server
            </a>
          </p>
        </section>
      </div>
    </Dialog>
  );
}

function Keys({ title, rows }: { title: string; rows: readonly (readonly [string, string] | string[])[] }) {
  return (
    <section>
      <h3>{title}</h3>
      <dl class="facts">
        {rows.map(([keys = "", text]) => (
          <>
            <dt>
              {keys.split(" ").map((key) => (
                <kbd key={key}>{key === "mod+k" ? "Ctrl K, ⌘K" : key}</kbd>
              ))}
            </dt>
            <dd>{text}</dd>
          </>
        ))}
      </dl>
    </section>
  );
}
