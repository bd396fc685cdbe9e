/** The cause of a failed or aborted execution: one line, with the whole message on demand. */
import { useState } from "preact/hooks";
import type { Schema } from "../../api/client.ts";
import { lastLine } from "../../model/logText.ts";
import { noticesOf } from "../../model/notices.ts";
import { asPhase, isFailure } from "../../model/phases.ts";
import { firstFailure } from "../../model/rows.ts";
import type { RunNode } from "../../model/tree.ts";
import { Copy } from "../../ui/Copy.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { PhaseIcon } from "../../ui/Phase.tsx";
import { selectNode } from "./selection.ts";
import type { RunStore } from "./store.ts";
import { useTasks } from "./useTasks.ts";

export function Problem({ execution, store }: { execution: Schema<"admin.Execution">; store: RunStore }) {
  const phase = asPhase(execution.closure?.phase);
  const error = execution.closure?.error;
  const aborted = execution.closure?.abort_metadata;
  const [open, setOpen] = useState(false);
  // The tree changes the failed node.
  void store.version.value;
  const hasFailed = isFailure(phase) || phase === "FAILING";
  const node = hasFailed ? firstFailure(store.tree)?.node : undefined;
  // An image that maps to no environment is often why a module is missing.
  const attempt = useTasks(node, store).data?.at(-1)?.closure;
  const notices = noticesOf(attempt?.reasons);
  if (phase === "ABORTED" || phase === "ABORTING") {
    const cause = aborted?.cause || execution.closure?.abort_cause || "";
    return (
      <div class="problem phase-aborted" role="status">
        <PhaseIcon group="aborted" />
        <span class="problem-text">
          Terminated{aborted?.principal ? ` by ${aborted.principal}` : ""}
          {cause ? `: ${cause}` : "."}
        </span>
      </div>
    );
  }
  if (!error || !hasFailed) return null;
  const message = wholeOf(attempt?.error?.message, node?.run?.closure?.error?.message, error.message);
  return (
    <div class="problem phase-failed" role="alert">
      <PhaseIcon group="failed" />
      <div class="problem-text">
        <p>
          {node && <b>{placeOf(node, store)}: </b>}
          {lastLine(message) || error.code || "failed without a message"}
        </p>
        {notices.map((line) => (
          <p key={line} class="problem-notice">
            <Icon name="warning" /> {line}
          </p>
        ))}
        {open && (
          <pre class="problem-message" tabIndex={0}>
            {message || error.code}
          </pre>
        )}
      </div>
      <span class="problem-tools">
        {node && (
          <>
            <button type="button" class="button small" onClick={() => selectNode(node.key, true, "error")}>
              Go to node
            </button>
            <button type="button" class="button small" onClick={() => selectNode(node.key, true, "log")}>
              Log at the failure
            </button>
          </>
        )}
        <button type="button" class="button small" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? "Less" : "Whole message"}
        </button>
        <Copy text={message} label="Copy the message" />
      </span>
    </div>
  );
}

/** Return the message of a failure. A list of nodes has the end of it only, which the execution may have in whole. */
function wholeOf(ofAttempt: Message, ofNode: Message, ofExecution: Message): string {
  if (ofAttempt) return ofAttempt;
  if (!ofNode || ofExecution?.includes(ofNode)) return ofExecution ?? "";
  return ofNode;
}

type Message = string | undefined;

function placeOf(node: RunNode, store: RunStore): string {
  const attempts = store.attemptsOf(node)?.length ?? 0;
  return `${node.id || node.name} ${node.name}${attempts > 1 ? `, attempt ${attempts} of ${attempts}` : ""}`;
}
