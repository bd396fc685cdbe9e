/** The error of a node or attempt: its cause first, then the whole message. */
import type { Schema } from "../../api/client.ts";
import { lastLine } from "../../model/logText.ts";
import type { RunNode } from "../../model/tree.ts";
import { Copy } from "../../ui/Copy.tsx";
import { DataLink } from "../../ui/Fields.tsx";

export function ErrorText({ node, attempt }: { node: RunNode; attempt: Schema<"admin.TaskExecution"> | undefined }) {
  const error = attempt?.closure?.error ?? node.run?.closure?.error;
  if (!error) return <p class="panel-text muted">This attempt has no error.</p>;
  const message = error.message ?? "";
  return (
    <div class="panel-text stack">
      <p class="error-cause">{lastLine(message) || error.code}</p>
      <dl class="facts small">
        <dt>Code</dt>
        <dd>{error.code}</dd>
        <dt>Kind</dt>
        <dd>
          {error.kind === "SYSTEM"
            ? "a failure of the system"
            : error.kind === "USER"
              ? "a failure of the task"
              : "unknown"}
        </dd>
        {error.timestamp && (
          <>
            <dt>Time</dt>
            <dd>{error.timestamp}</dd>
          </>
        )}
        {error.error_uri && (
          <>
            <dt>Stored at</dt>
            <dd>
              <DataLink href={error.error_uri} />
            </dd>
          </>
        )}
      </dl>
      <div class="row">
        <h3>Message</h3>
        <Copy text={message} label="Copy the message" />
      </div>
      <pre class="message" tabIndex={0}>
        {message}
      </pre>
    </div>
  );
}
