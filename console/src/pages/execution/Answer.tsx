/** A gate: what it waits for, and the form that answers it. */
import { api, type Schema } from "../../api/client.ts";
import { useLive } from "../../api/live.ts";
import { isTerminal } from "../../model/phases.ts";
import type { RunNode } from "../../model/tree.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { SignalForm } from "../gates/SignalForm.tsx";
import { Values } from "../values/index.tsx";
import { pathOf } from "./store.ts";

export function Answer({ node }: { node: RunNode }) {
  const gate = node.spec?.node.gate_node;
  const isApproval = gate?.approve !== undefined;
  const signalId = gate?.approve?.signal_id ?? gate?.signal?.signal_id ?? "";
  const { project, domain, name } = node.execution;
  const ended = isTerminal(node.phase);
  const live = useLive<Schema<"admin.SignalList">>(
    node.run ? `ListSignals ${project} ${domain} ${name}` : null,
    (signal, _, background) =>
      api("ListSignals", { path: pathOf(node.execution), query: { limit: 100 } }, { signal, background }),
    () => (ended ? null : 3000),
  );
  if (!node.run) return <p class="panel-text muted">The gate is not reached yet.</p>;
  if (live.error && !live.data) return <ErrorBox error={live.error} />;
  if (!live.data) return <Skeleton />;
  const found = live.data.signals?.find((one) => one.id?.signal_id === signalId);
  const type = found?.type ?? gate?.signal?.type ?? { simple: "BOOLEAN" as const };
  const answered = found?.value ?? undefined;
  return (
    <div class="panel-text stack">
      <p>
        {isApproval ? "Approval" : "Value"} <b>{signalId}</b>
        {answered ? ":" : ended ? " was not given." : isApproval ? ": may the execution go on?" : " is waited for."}
      </p>
      {answered ? (
        <Values label="answer" literals={{ literals: { [signalId]: answered } }} place={node.execution} />
      ) : (
        !ended && <SignalForm execution={node.execution} signalId={signalId} type={type} approval={isApproval} />
      )}
      {isApproval && !answered && !ended && <p class="muted small">The value that is approved is under Inputs.</p>}
    </div>
  );
}
