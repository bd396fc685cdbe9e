/** What happened to a node: times, reasons as a list, and where its data lies. */
import type { Schema } from "../../api/client.ts";
import type { RunNode } from "../../model/tree.ts";
import { DataLink } from "../../ui/Fields.tsx";
import { Time } from "../../ui/Time.tsx";
import { NodeTimes } from "./NodeTimes.tsx";
import type { RunStore } from "./store.ts";

interface Props {
  node: RunNode;
  attempt: Schema<"admin.TaskExecution"> | undefined;
  store: RunStore;
}

export function Events({ node, attempt, store }: Props) {
  // The operations are read after the page is shown.
  void store.version.value;
  const closure = attempt?.closure;
  const reasons = closure?.reasons?.length
    ? closure.reasons
    : closure?.reason
      ? [{ message: closure.reason, occurred_at: null }]
      : [];
  const task = node.spec?.task;
  const plugin = closure?.metadata?.plugin_identifier;
  return (
    <div class="panel-text stack">
      <dl class="facts small">
        <Fact name="Created">{node.createdMs !== undefined && <Time at={node.createdMs} />}</Fact>
        <Fact name="Started">{node.startedMs !== undefined && <Time at={node.startedMs} />}</Fact>
        <Fact name="Ended">{node.endedMs !== undefined && <Time at={node.endedMs} />}</Fact>
        <Fact name="Inputs at">{node.run?.input_uri && <DataLink href={node.run.input_uri} />}</Fact>
        <Fact name="Outputs at">
          {node.run?.closure?.output_uri && <DataLink href={node.run.closure.output_uri} />}
        </Fact>
        <Fact name="Task type">{closure?.task_type}</Fact>
        <Fact name="Plugin">{plugin}</Fact>
        <Fact name="Retries">{task?.metadata?.retries?.retries || undefined}</Fact>
        <Fact name="Retry group">{node.run?.metadata?.retry_group}</Fact>
        <Fact name="Deprecated">{task?.metadata?.deprecated_error_message}</Fact>
      </dl>
      {store.operationsOf(node).length > 0 && (
        <>
          <h3>Where the time went</h3>
          <NodeTimes node={node} store={store} />
        </>
      )}
      <h3>Reasons</h3>
      {reasons.length === 0 ? (
        <p class="muted">The engine has given no reasons for this attempt.</p>
      ) : (
        <ol class="reasons">
          {reasons.map((reason, index) => (
            <li key={index}>
              {reason.occurred_at && <Time at={reason.occurred_at} />}
              <pre>{reason.message}</pre>
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}

function Fact({ name, children }: { name: string; children?: unknown }) {
  if (children === undefined || children === null || children === "" || children === false) return null;
  return (
    <>
      <dt>{name}</dt>
      <dd>{children as string}</dd>
    </>
  );
}
