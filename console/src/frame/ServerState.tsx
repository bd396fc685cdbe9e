/** The version of the server, whether it is ready, and how soon it answers. */
import { api, request } from "../api/client.ts";
import { useLive } from "../api/live.ts";
import { ROOT } from "../root.ts";

interface State {
  version: string;
  /** Null where the server does not report it, as upstream's. */
  ready: { ready: boolean; failing?: string[]; degraded?: string[] } | null;
  replyMs: number;
}

const EVERY_MS = 10_000;

async function read(signal: AbortSignal, background: boolean): Promise<State> {
  const begun = performance.now();
  const version = await api("GetVersion", {}, { signal, background });
  const replyMs = performance.now() - begun;
  const options = { signal, background, statuses: [401, 403, 404, 503] };
  const reply = await request("health", `${ROOT}/healthz/ready`, {}, options);
  const isReported = reply.ok || reply.status === 503;
  return {
    version: version.control_plane_version?.Version ?? "",
    ready: isReported ? ((await reply.json()) as State["ready"]) : null,
    replyMs,
  };
}

export function ServerState() {
  const { data, error } = useLive<State>(
    "GetVersion server",
    (signal, _, background) => read(signal, background),
    EVERY_MS,
  );
  return (
    <section aria-label="Server">
      <h3>Server</h3>
      {error ? (
        <p class="field-problem">{error.message}</p>
      ) : (
        <dl class="facts">
          <dt>State</dt>
          <dd>{data ? stateText(data) : "…"}</dd>
          <dt>Version</dt>
          <dd>{data?.version || "…"}</dd>
          <dt>Reply after</dt>
          <dd>{data ? `${Math.max(1, Math.round(data.replyMs))} ms` : "…"}</dd>
        </dl>
      )}
    </section>
  );
}

function stateText({ ready }: State): string {
  if (!ready) return "it answers";
  const degraded = ready.degraded?.length ? `, degraded: ${ready.degraded.join(", ")}` : "";
  return ready.ready ? `ready${degraded}` : `not ready: ${ready.failing?.join(", ") ?? ""}${degraded}`;
}
