/** The answer to a gate: approve or reject, or a value of the signal's type. */

import { useMemo, useState } from "preact/hooks";
import { uploadFiles } from "../../api/artifacts.ts";
import { api } from "../../api/client.ts";
import { type Draft, initialDraft, literalOfDraft } from "../../api/drafts.ts";
import { booleanLiteral, type Literal, Report } from "../../api/literals.ts";
import { refreshAll } from "../../api/live.ts";
import { type LiteralType, shapeOf } from "../../api/shapes.ts";
import { Guarded } from "../../frame/Guarded.tsx";
import { zone as zoneChoice } from "../../store.ts";
import { announce } from "../../ui/announce.ts";
import { FormContext } from "../../ui/fields/context.ts";
import { Field } from "../../ui/fields/Field.tsx";
import type { ExecutionId } from "../actions/index.tsx";

interface Props {
  execution: ExecutionId;
  signalId: string;
  /** Type of the signal; that of an approval is BOOLEAN. */
  type: LiteralType;
  /** Whether the gate asks for an approval: two buttons. */
  approval: boolean;
  onSent?: () => void;
}

export function SignalForm({ execution, signalId, type, approval, onSent }: Props) {
  const shape = useMemo(() => shapeOf(type), [type]);
  const zone = zoneChoice.value === "utc" ? "utc" : "local";
  const [draft, setDraft] = useState<Draft>(() => initialDraft(shape));
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState("");
  const report = new Report(zone, [], ["value"]);
  const literal = approval ? undefined : literalOfDraft(shape, draft, report);
  const send = async (value: Literal): Promise<void> => {
    setBusy(true);
    setFailure("");
    const { project, domain, name } = execution;
    const id = { signal_id: signalId, execution_id: { project, domain, name } };
    try {
      await api("SetSignal", { body: { id, value } });
      announce(`${signalId} answered`);
      refreshAll("ListNodeExecutions");
      refreshAll("GetExecution");
      refreshAll("ListSignals");
      onSent?.();
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  const problem = failure && (
    <div class="error-box" role="alert">
      <p class="text">{failure}</p>
    </div>
  );
  if (approval) {
    return (
      <div class="stack">
        <div class="row">
          <Guarded
            need="run"
            place={execution}
            class="button primary"
            disabled={busy}
            onClick={() => void send(booleanLiteral(true))}
          >
            Approve
          </Guarded>
          <Guarded
            need="run"
            place={execution}
            class="button danger"
            disabled={busy}
            onClick={() => void send(booleanLiteral(false))}
          >
            Reject
          </Guarded>
        </div>
        {problem}
      </div>
    );
  }
  const upload = (files: File[], folder: boolean, onShare: (share: number) => void) =>
    uploadFiles(execution, files, folder, onShare);
  return (
    <FormContext.Provider value={{ zone, problems: tried || draft.kind !== "unset" ? report.problems : [], upload }}>
      <form
        class="stack"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          setTried(true);
          if (literal && report.problems.length === 0) void send(literal);
        }}
      >
        <Field shape={shape} draft={draft} onChange={setDraft} path={["value"]} label={signalId} required />
        <div class="row">
          <Guarded need="run" place={execution} type="submit" class="button primary" disabled={busy}>
            {busy ? "Sending…" : "Send and go on"}
          </Guarded>
        </div>
        {problem}
      </form>
    </FormContext.Provider>
  );
}
