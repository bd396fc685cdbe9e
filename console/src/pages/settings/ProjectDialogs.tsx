/** Dialogs of projects: register, edit, archive, restore. */

import { useState } from "preact/hooks";
import { api, type Schema } from "../../api/client.ts";
import { refreshAll } from "../../api/live.ts";
import { mapOf, pairsOf } from "../../model/attributes.ts";
import type { Pair } from "../../model/launch.ts";
import { toast } from "../../ui/announce.ts";
import { Confirm, Dialog } from "../../ui/Dialog.tsx";
import { Field } from "../../ui/Fields.tsx";
import { Pairs } from "../launch/Options.tsx";
import "../../ui/fields/fields.css";
import "../launch/style.css";

type Project = Schema<"admin.Project">;

function refreshProjects(): void {
  refreshAll("ListProjects");
  refreshAll("GetProject");
}

interface Props {
  /** The project to edit; a new one without it. */
  project?: Project;
  onClose: () => void;
  onDone?: (id: string) => void;
}

/** Register a project, or change name, description and labels of one. */
export function ProjectDialog({ project, onClose, onDone }: Props) {
  const [id, setId] = useState(project?.id ?? "");
  const [name, setName] = useState(project?.name ?? "");
  const [description, setDescription] = useState(project?.description ?? "");
  const [labels, setLabels] = useState<Pair[]>(() => pairsOf(project?.labels?.values));
  const [failure, setFailure] = useState("");
  const [busy, setBusy] = useState(false);
  const problem = (words: RegExp): string | undefined => (words.test(failure) ? failure : undefined);
  const idProblem = problem(/project id|already exists|project_id/i);
  const labelProblem = problem(/label (key|value)|labels map/i);
  const other = idProblem || labelProblem ? "" : failure;
  const submit = async (): Promise<void> => {
    setBusy(true);
    setFailure("");
    const values = {
      id: id.trim(),
      name: name.trim() || id.trim(),
      description,
      labels: { values: mapOf(labels) ?? {} },
    };
    try {
      if (project)
        await api("UpdateProject", { path: { id: values.id }, body: { ...values, state: project.state ?? "ACTIVE" } });
      else await api("RegisterProject", { body: { project: values } });
      toast(project ? `${values.id} saved` : `${values.id} registered`);
      refreshProjects();
      onDone?.(values.id);
      onClose();
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog
      title={project ? `Edit project ${project.id}` : "New project"}
      onClose={onClose}
      onSubmit={() => void submit()}
      dismissible={false}
      footer={
        <>
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={busy || id.trim() === ""}>
            {project ? "Save" : "Register"}
          </button>
        </>
      }
    >
      <div class="stack">
        {!project && (
          <Field
            label="Id"
            required
            problem={idProblem}
            hint="Lower-case letters, digits and dashes. It never changes."
          >
            {(attributes) => (
              <input
                {...attributes}
                class="input"
                autofocus
                autoComplete="off"
                spellcheck={false}
                value={id}
                onInput={(event) => setId(event.currentTarget.value)}
              />
            )}
          </Field>
        )}
        <Field label="Name" hint="What consoles show; the id without one.">
          {(attributes) => (
            <input
              {...attributes}
              class="input"
              autoComplete="off"
              value={name}
              onInput={(event) => setName(event.currentTarget.value)}
            />
          )}
        </Field>
        <Field label="Description">
          {(attributes) => (
            <textarea
              {...attributes}
              class="textarea"
              rows={3}
              value={description}
              onInput={(event) => setDescription(event.currentTarget.value)}
            />
          )}
        </Field>
        <Pairs name="labels" label="Labels" pairs={labels} onChange={setLabels} />
        {labelProblem && <p class="field-problem">{labelProblem}</p>}
        {other && (
          <div class="error-box" role="alert">
            <p class="text">{other}</p>
          </div>
        )}
      </div>
    </Dialog>
  );
}

/** Archive a project, so that lists hide it and launches are refused, or restore it. */
export function ProjectStateDialog({ project, onClose, onDone }: { project: Project } & Omit<Props, "project">) {
  const restore = project.state === "ARCHIVED";
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState("");
  const submit = async (): Promise<void> => {
    setBusy(true);
    const { id = "", name = "", description = "", labels } = project;
    try {
      const state = restore ? ("ACTIVE" as const) : ("ARCHIVED" as const);
      const body = { id, name, description, labels: labels ?? null, state };
      await api("UpdateProject", { path: { id }, body });
      toast(`${id} ${restore ? "restored" : "archived"}`);
      refreshProjects();
      onDone?.(id);
      onClose();
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error));
      setBusy(false);
    }
  };
  return (
    <Confirm
      title={restore ? `Restore ${project.id}?` : `Archive ${project.id}?`}
      action={restore ? "Restore" : "Archive"}
      danger={!restore}
      busy={busy}
      onConfirm={() => void submit()}
      onClose={onClose}
    >
      <p>
        {restore
          ? "Lists show the project again, and its workflows can be launched."
          : "Lists hide an archived project, and nothing in it can be launched. Its data stays, and it can be restored."}
      </p>
      {failure && (
        <p class="field-problem" role="alert">
          {failure}
        </p>
      )}
    </Confirm>
  );
}
