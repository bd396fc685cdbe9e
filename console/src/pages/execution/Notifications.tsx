/** Notifications of an execution: what was to be sent, and what became of each message. */
import { request, type Schema } from "../../api/client.ts";
import { useLive } from "../../api/live.ts";
import { asPhase, phaseLabel } from "../../model/phases.ts";
import { ROOT } from "../../root.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Time } from "../../ui/Time.tsx";

/** A message, as GET /api/v1/notifications/… returns it. */
interface Delivery {
  readonly id: string;
  readonly target: string;
  readonly kind: string;
  readonly recipient: string;
  readonly state: "pending" | "delivered" | "failed";
  readonly attempts: number;
  readonly created_at: string;
  readonly next_at: string | null;
  readonly finished_at: string | null;
  readonly reply: string;
  readonly reason: string;
}

interface Reply {
  readonly deliveries: readonly Delivery[];
  readonly token: string;
}

const STATE_PHASES = { pending: "waiting", delivered: "succeeded", failed: "failed" } as const;
const ROWS = 100;

export function Notifications({ execution }: { execution: Schema<"admin.Execution"> }) {
  const { project = "", domain = "", name = "" } = execution.id ?? {};
  const path = [project, domain, name].map(encodeURIComponent).join("/");
  const live = useLive<Reply | null>(
    `notifications ${project} ${domain} ${name}`,
    async (signal, _, background) => {
      const address = `${ROOT}/api/v1/notifications/${path}?about=notifications&limit=${ROWS}`;
      const options = { signal, background, statuses: [404, 501] };
      const response = await request("notifications", address, { headers: { Accept: "application/json" } }, options);
      // Other Flyte servers keep no record of messages.
      return response.ok ? ((await response.json()) as Reply) : null;
    },
    (reply) => (reply?.deliveries.some((one) => one.state === "pending") ? 3000 : null),
  );
  return (
    <div class="execution-spec stack">
      <section class="card">
        <header>
          <h2>Rules</h2>
        </header>
        <ul class="panel-text stack">
          {(execution.closure?.notifications ?? []).map((rule, index) => (
            <li key={index}>{ruleText(rule)}</li>
          ))}
        </ul>
      </section>
      <section class="card">
        <header>
          <h2>Messages</h2>
        </header>
        <Deliveries reply={live.data} error={live.error} />
      </section>
    </div>
  );
}

function ruleText(rule: Schema<"admin.Notification">): string {
  const phases = (rule.phases ?? []).map((phase) => phaseLabel(asPhase(phase)).toLowerCase()).join(", ");
  const kind = rule.email ? "e-mail" : rule.slack ? "Slack" : rule.pager_duty ? "PagerDuty" : "message";
  const recipients = (rule.email ?? rule.slack ?? rule.pager_duty)?.recipients_email ?? [];
  return `${kind} to ${recipients.join(", ")} when ${phases}`;
}

function Deliveries({
  reply,
  error,
}: {
  reply: Reply | null | undefined;
  error: Parameters<typeof ErrorBox>[0]["error"];
}) {
  if (error && !reply) return <ErrorBox error={error} />;
  if (reply === undefined) return <Skeleton />;
  if (reply === null) return <p class="panel-text muted">This server keeps no record of messages.</p>;
  if (reply.deliveries.length === 0) return <p class="panel-text muted">No message was due so far.</p>;
  return (
    <ul class="deliveries">
      {reply.deliveries.map((one) => (
        <li key={one.id} class="panel-text">
          <span class={`phase phase-${STATE_PHASES[one.state]}`}>{one.state}</span> {one.kind} to {one.recipient},{" "}
          <Time at={one.finished_at ?? one.created_at} />
          {one.attempts > 1 && `, ${one.attempts} attempts`}
          {one.state === "pending" && one.next_at && (
            <>
              , next <Time at={one.next_at} />
            </>
          )}
          {(one.reason || one.reply) && <pre class="small">{one.state === "delivered" ? one.reply : one.reason}</pre>}
        </li>
      ))}
    </ul>
  );
}
