/** The log of an attempt, or of one index of a map; log links of other systems are shown as links. */
import { useMemo } from "preact/hooks";
import { request, type Schema } from "../../api/client.ts";
import { setQuery } from "../../location.ts";
import { asPhase, isTerminal } from "../../model/phases.ts";
import type { RunNode } from "../../model/tree.ts";
import { ROOT } from "../../root.ts";
import { DataLink } from "../../ui/Fields.tsx";
import { Log, type LogPiece, type LogSource } from "../../ui/Log.tsx";
import { selection } from "./selection.ts";

type Links = readonly Schema<"core.TaskLog">[];

export function AttemptLog({ node, attempt }: { node: RunNode; attempt: Schema<"admin.TaskExecution"> | undefined }) {
  const ended = isTerminal(node.phase) || isTerminal(asPhase(attempt?.closure?.phase));
  return <LogOf logs={attempt?.closure?.logs ?? []} ended={ended} isStarted={attempt !== undefined} />;
}

/** Show the log of the chosen link, and the other links. */
export function LogOf({ logs, ended, isStarted }: { logs: Links; ended: boolean; isStarted: boolean }) {
  const { log: wanted, line } = selection.value;
  const served = logs.map((log) => sourcePath(log.uri));
  const index = served[wanted] === undefined ? served.findIndex((path) => path !== undefined) : wanted;
  const path = served[index];
  const others = logs.filter((_, at) => at !== index);
  const source = useMemo(() => (path === undefined ? undefined : sourceOf(path)), [path]);
  return (
    <div class="attempt-log">
      {others.length > 0 && (
        <ul class="log-links small">
          {others.map((log) => {
            const at = logs.indexOf(log);
            return (
              <li key={at}>
                {served[at] === undefined ? (
                  <DataLink href={log.uri ?? ""}>{log.name || log.uri}</DataLink>
                ) : (
                  <button type="button" class="button quiet small" onClick={() => setQuery({ log: at, line: null })}>
                    {log.name || `log ${at + 1}`}
                  </button>
                )}
              </li>
            );
          })}
        </ul>
      )}
      {source ? (
        <Log source={source} growing={!ended} line={line} onLine={(next) => setQuery({ line: next ?? null })} />
      ) : (
        others.length === 0 && (
          <p class="panel-text muted">{isStarted ? "This attempt has no log." : "No attempt has started."}</p>
        )
      )}
    </div>
  );
}

/** Return the path of a log that this server serves; undefined for an address elsewhere. */
export function sourcePath(uri: string | undefined): string | undefined {
  if (!uri || !URL.canParse(uri, window.location.origin)) return undefined;
  const { protocol, pathname, search } = new URL(uri, window.location.origin);
  if (protocol !== "http:" && protocol !== "https:") return undefined;
  const at = pathname.indexOf("/logs/");
  // The server may be behind a proxy whose prefix the link has or lacks.
  if (at !== 0 && pathname.slice(0, at) !== ROOT) return undefined;
  return `${ROOT}${pathname.slice(at)}${search}`;
}

function sourceOf(path: string): LogSource {
  return {
    key: path,
    // Without `raw`, a browser that navigates to a log is sent to the console.
    href: `${path}${path.includes("?") ? "&" : "?"}raw=1`,
    read: (range, signal) => readRange(path, range, signal),
    size: async (signal) => {
      const response = await request("log", path, { method: "HEAD" }, { signal, background: true });
      return Number(response.headers.get("content-length") ?? 0);
    },
  };
}

/** Read a range. A log without these bytes answers 416 with its size. */
async function readRange(path: string, range: string, signal: AbortSignal): Promise<LogPiece | { size: number }> {
  const headers = { Range: range, Accept: "text/plain" };
  const response = await request("log", path, { headers }, { signal, background: true, statuses: [416] });
  const content = response.headers.get("content-range") ?? "";
  if (response.status === 416) return { size: Number(/\*\/(\d+)/.exec(content)?.[1] ?? 0) };
  const bytes = new Uint8Array(await response.arrayBuffer());
  const [, first = "0", size = String(bytes.length)] = /bytes (\d+)-\d+\/(\d+)/.exec(content) ?? [];
  return { bytes, first: Number(first), size: Number(size) };
}
