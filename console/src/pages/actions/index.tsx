/** Dialogs of the actions on executions: terminate, archive, recover, relaunch. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { refreshAll } from "../../api/live.ts";
import { navigate } from "../../location.ts";
import { NAME_LENGTH_MAX } from "../../model/launch.ts";
import { links } from "../../routes.ts";
import { toast } from "../../ui/announce.ts";
import { Dialog } from "../../ui/Dialog.tsx";
import { Field } from "../../ui/Fields.tsx";
import {
  type ExecutionId,
  type Failure,
  forEachExecution,
  recover,
  relaunchAsIs,
  setArchived,
  terminate,
} from "./bulk.ts";

export type { ExecutionId } from "./bulk.ts";

/** Names that a dialog lists; the rest is counted. */
const NAMES_SHOWN = 8;

function Names({ ids }: { ids: readonly ExecutionId[] }) {
  const rest = ids.length - NAMES_SHOWN;
  return (
    <ul class="action-names">
      {ids.slice(0, NAMES_SHOWN).map((id) => (
        <li key={id.name} class="mono">
          {id.name}
        </li>
      ))}
      {rest > 0 && <li class="muted">and {rest} more</li>}
    </ul>
  );
}

function Failures({ failures }: { failures: Failure[] }) {
  if (failures.length === 0) return null;
  return (
    <div class="error-box" role="alert">
      <div class="text">
        {failures.slice(0, NAMES_SHOWN).map(({ id, message }) => (
          <p key={id.name}>
            <span class="mono">{id.name}</span>: {message}
          </p>
        ))}
        {failures.length > NAMES_SHOWN && <p>and {failures.length - NAMES_SHOWN} more</p>}
      </div>
    </div>
  );
}

/** Read lists and pages of executions again. */
function refreshExecutions(): void {
  refreshAll("ListExecutions");
  refreshAll("GetExecution");
}

const counted = (count: number): string => (count === 1 ? "1 execution" : `${count} executions`);

interface BulkProps {
  ids: readonly ExecutionId[];
  title: string;
  action: string;
  danger?: boolean;
  children?: ComponentChildren;
  run: (id: ExecutionId) => Promise<unknown>;
  said: string;
  ready?: boolean;
  onClose: () => void;
  onDone?: (() => void) | undefined;
}

/** A dialog that runs one action on each execution, and stays open with the failures. */
function BulkDialog({ ids, title, action, danger, children, run, said, ready = true, onClose, onDone }: BulkProps) {
  const [left, setLeft] = useState(ids);
  const [done, setDone] = useState<number | null>(null);
  const [failures, setFailures] = useState<Failure[]>([]);
  const submit = async (): Promise<void> => {
    if (!ready || done !== null) return;
    setDone(0);
    const failed = await forEachExecution(left, run, setDone);
    setDone(null);
    refreshExecutions();
    const count = left.length - failed.length;
    if (count > 0) toast(`${counted(count)} ${said}`);
    if (failed.length === 0) {
      onDone?.();
      onClose();
      return;
    }
    setFailures(failed);
    setLeft(failed.map((failure) => failure.id));
  };
  return (
    <Dialog
      title={title}
      size="narrow"
      onClose={onClose}
      onSubmit={() => void submit()}
      footer={
        <>
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class={`button ${danger ? "danger" : "primary"}`} disabled={!ready || done !== null}>
            {done === null ? action : `${done} of ${left.length}…`}
          </button>
        </>
      }
    >
      <div class="stack">
        <Names ids={left} />
        {children}
        <Failures failures={failures} />
      </div>
    </Dialog>
  );
}

interface ActionProps {
  ids: readonly ExecutionId[];
  onClose: () => void;
  onDone?: () => void;
}

/** Terminate executions, for one cause that each keeps. */
export function TerminateDialog({ ids, onClose, onDone }: ActionProps) {
  const [cause, setCause] = useState("");
  return (
    <BulkDialog
      ids={ids}
      title={ids.length === 1 ? "Terminate this execution?" : `Terminate ${counted(ids.length)}?`}
      action="Terminate"
      danger
      run={(id) => terminate(id, cause.trim())}
      said="terminated"
      ready={cause.trim() !== ""}
      onClose={onClose}
      onDone={onDone}
    >
      <Field label="Cause" required hint="Shown on the execution, and sent in notifications.">
        {(attributes) => (
          <input
            {...attributes}
            class="input"
            autofocus
            autoComplete="off"
            value={cause}
            onInput={(event) => setCause(event.currentTarget.value)}
          />
        )}
      </Field>
    </BulkDialog>
  );
}

/** Hide executions from the lists, or show archived ones again. */
export function ArchiveDialog({ ids, onClose, onDone, restore = false }: ActionProps & { restore?: boolean }) {
  const word = restore ? "Restore" : "Archive";
  return (
    <BulkDialog
      ids={ids}
      title={ids.length === 1 ? `${word} this execution?` : `${word} ${counted(ids.length)}?`}
      action={word}
      run={(id) => setArchived(id, !restore)}
      said={restore ? "restored" : "archived"}
      onClose={onClose}
      onDone={onDone}
    >
      <p class="muted">
        {restore
          ? "Lists show restored executions again."
          : "Lists hide archived executions. They keep running, and their data stays."}
      </p>
    </BulkDialog>
  );
}

interface OneProps {
  id: ExecutionId;
  onClose: () => void;
}

function NameField({ value, onInput }: { value: string; onInput: (value: string) => void }) {
  return (
    <Field
      label="Name of the new execution"
      hint="Optional. Lower-case letters, digits and dashes, beginning with a letter."
    >
      {(attributes) => (
        <input
          {...attributes}
          class="input"
          autoComplete="off"
          maxLength={NAME_LENGTH_MAX}
          placeholder="chosen by the server"
          value={value}
          onInput={(event) => onInput(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

interface AgainProps extends OneProps {
  title: string;
  action: string;
  run: (name: string) => Promise<string>;
  children: ComponentChildren;
}

/** Start a new execution like an old one, and open it. */
function AgainDialog({ id, title, action, run, children, onClose }: AgainProps) {
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState("");
  const submit = async (): Promise<void> => {
    if (busy) return;
    setBusy(true);
    setFailure("");
    try {
      const started = await run(name.trim());
      refreshExecutions();
      onClose();
      navigate(links.execution(id, started));
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error));
      setBusy(false);
    }
  };
  return (
    <Dialog
      title={title}
      size="narrow"
      onClose={onClose}
      onSubmit={() => void submit()}
      footer={
        <>
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={busy}>
            {busy ? "Starting…" : action}
          </button>
        </>
      }
    >
      <div class="stack">
        {children}
        <NameField value={name} onInput={setName} />
        {failure && (
          <div class="error-box" role="alert">
            <p class="text">{failure}</p>
          </div>
        )}
      </div>
    </Dialog>
  );
}

/** Start a new execution that copies the outputs of the nodes that succeeded in a failed one. */
export function RecoverDialog({ id, onClose }: OneProps) {
  return (
    <AgainDialog
      id={id}
      title="Recover this execution?"
      action="Recover"
      run={(name) => recover(id, name)}
      onClose={onClose}
    >
      <p>
        A new execution copies the outputs of the nodes that succeeded in <span class="mono">{id.name}</span> and runs
        the others again, with the same inputs and the same version.
      </p>
    </AgainDialog>
  );
}

/** Start the execution again as it was, without a form. For a form with its inputs, open the launch page with `from`. */
export function RelaunchDialog({ id, onClose }: OneProps) {
  const [overwrite, setOverwrite] = useState(false);
  return (
    <AgainDialog
      id={id}
      title="Relaunch as it was?"
      action="Relaunch"
      run={(name) => relaunchAsIs(id, name, overwrite)}
      onClose={onClose}
    >
      <p>
        A new execution with the inputs, options and version of <span class="mono">{id.name}</span>.
      </p>
      <label class="check">
        <input type="checkbox" checked={overwrite} onChange={(event) => setOverwrite(event.currentTarget.checked)} />
        Overwrite the cache: run cached tasks again
      </label>
    </AgainDialog>
  );
}
