/** A gate: what it waits for, and the form that answers it. */
import { api, type Schema } from "../../api/client.ts";
import { useLive } from "../../api/live.ts";
import { isTerminal } from "../../model/phases.ts";
import type { RunNode } from "../../model/tree.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { pathOf, type RunStore } from "./store.ts";

interface Props {
  readonly node: RunNode;
  readonly execution: Schema<"admin.Execution">;
  readonly store: RunStore;
}

export function Answer({ node }: Props) {
  const gate = node.spec?.node.gate_node;
  const signalId = gate?.approve?.signal_id ?? gate?.signal?.signal_id ?? "";
  const { project, domain, name } = node.execution;
  const live = useLive<Schema<"admin.SignalList">>(
    node.run ? `ListSignals ${project} ${domain} ${name}` : null,
    (signal, _, background) =>
      api("ListSignals", { path: pathOf(node.execution), query: { limit: 100 } }, { signal, background }),
    () => (isTerminal(node.phase) ? null : 3000),
  );
  if (live.error) return <ErrorBox error={live.error} />;
  if (node.run && !live.data) return <Skeleton />;
  const found = live.data?.signals?.find((one) => one.id?.signal_id === signalId);
  return (
    <div class="panel-text stack">
      <p>
        {gate?.approve ? "Waits for an approval" : "Waits for a value"}: <b>{signalId}</b>
      </p>
      {found?.value && <pre class="message">{JSON.stringify(found.value, null, 2)}</pre>}
    </div>
  );
}
