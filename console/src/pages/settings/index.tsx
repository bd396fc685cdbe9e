/** A project's name, labels and state, and the overrides of settings for it, its domain and its workflows. */

import { useState } from "preact/hooks";
import { api } from "../../api/client.ts";
import { refreshAll, useLive } from "../../api/live.ts";
import { Guarded } from "../../frame/Guarded.tsx";
import { query, setQuery } from "../../location.ts";
import {
  ATTRIBUTE_KINDS,
  type AttributeKind,
  type Configuration,
  configurationsOf,
  factsOf,
  type Level,
  levelOf,
} from "../../model/attributes.ts";
import { links, type PageProps } from "../../routes.ts";
import { toast } from "../../ui/announce.ts";
import { Confirm } from "../../ui/Dialog.tsx";
import { Chip } from "../../ui/Fields.tsx";
import { Picker } from "../../ui/Picker.tsx";
import { AttributeDialog } from "./AttributeDialog.tsx";
import { deleteAttributes, readAttributes, type Scope } from "./data.ts";
import { ProjectDialog, ProjectStateDialog } from "./ProjectDialogs.tsx";
import "./style.css";

export default function SettingsPage({ project, domain }: PageProps<"settings">) {
  const wanted = query.value.get("type");
  const kind = ATTRIBUTE_KINDS.find((one) => one.type === wanted) ?? ATTRIBUTE_KINDS[0];
  return (
    <div class="settings">
      <h1>Settings of {project}</h1>
      <ProjectCard project={project} />
      <p>
        <a href={links.list({ project, domain }, "cache")}>Cached outputs of tasks in {domain}</a>
      </p>
      <section class="stack" aria-labelledby="overrides">
        <h2 id="overrides">Overrides in {domain}</h2>
        <p class="muted">
          What is set here holds instead of the server's configuration: a workflow's before its domain's, a domain's
          before the project's.
        </p>
        <div class="settings-kinds">
          <nav aria-label="Kinds of overrides">
            {ATTRIBUTE_KINDS.map((one) => (
              <button
                key={one.type}
                type="button"
                class="button quiet"
                aria-pressed={one === kind}
                onClick={() => setQuery({ type: one.type })}
              >
                {one.label}
              </button>
            ))}
          </nav>
          {kind && (
            <Overrides key={`${kind.type}/${project}/${domain}`} kind={kind} project={project} domain={domain} />
          )}
        </div>
      </section>
    </div>
  );
}

function ProjectCard({ project: id }: { project: string }) {
  const { data: project, error } = useLive(`GetProject ${id}`, (signal) =>
    api("GetProject", { path: { id } }, { signal }),
  );
  const [dialog, setDialog] = useState<"edit" | "state" | null>(null);
  if (error) {
    return (
      <div class="error-box" role="alert">
        <p class="text">{error.message}</p>
      </div>
    );
  }
  if (!project) return null;
  const labels = Object.entries(project.labels?.values ?? {});
  const archived = project.state === "ARCHIVED";
  const whole = { project: id, domain: "*" };
  return (
    <section class="card" aria-label="Project">
      <header>
        <h2>{project.name || id}</h2>
        {archived && <Chip>archived</Chip>}
        <span class="row spread">
          <Guarded need="admin" place={whole} class="button small" onClick={() => setDialog("edit")}>
            Edit
          </Guarded>
          <Guarded need="admin" place={whole} class="button small" onClick={() => setDialog("state")}>
            {archived ? "Restore" : "Archive"}
          </Guarded>
        </span>
      </header>
      <dl class="facts settings-facts">
        <dt>Id</dt>
        <dd>{id}</dd>
        <dt>Description</dt>
        <dd>{project.description || <span class="muted">none</span>}</dd>
        <dt>Labels</dt>
        <dd class="row tight">
          {labels.length === 0 && <span class="muted">none</span>}
          {labels.map(([key, value]) => (
            <Chip key={key}>
              {key}={value}
            </Chip>
          ))}
        </dd>
        <dt>Domains</dt>
        <dd>{(project.domains ?? []).map((one) => one.id).join(", ")}</dd>
      </dl>
      {dialog === "edit" && <ProjectDialog project={project} onClose={() => setDialog(null)} />}
      {dialog === "state" && <ProjectStateDialog project={project} onClose={() => setDialog(null)} />}
    </section>
  );
}

type Open = { action: "edit" | "delete"; scope: Scope; level: Level; value: unknown };

function Overrides({ kind, project, domain }: { kind: AttributeKind; project: string; domain: string }) {
  const key = `ListMatchableAttributes ${kind.type} ${project} ${domain}`;
  const { data, error } = useLive(key, (signal) => readAttributes(kind.type, project, domain, signal));
  const [open, setOpen] = useState<Open | null>(null);
  const [workflow, setWorkflow] = useState("");
  if (error) {
    return (
      <div class="error-box" role="alert">
        <p class="text">{error.message}</p>
      </div>
    );
  }
  if (!data) return null;
  const found = configurationsOf(data, project, domain);
  const at = (level: Level): Configuration | undefined => found.find((one) => levelOf(one) === level);
  const add = (level: Level, scope: Scope) => (
    <Guarded
      need="admin"
      place={{ project, domain: level === "project" ? "*" : domain }}
      class="button small"
      onClick={() => setOpen({ action: "edit", scope, level, value: {} })}
    >
      Set for {level === "project" ? `project ${project}` : level === "domain" ? `domain ${domain}` : scope.workflow}
    </Guarded>
  );
  return (
    <div class="stack">
      <p class="muted">{kind.help}</p>
      {found.length === 0 && <p>Nothing is overridden.</p>}
      {found.map((one) => (
        <Override
          key={`${one.domain}/${one.workflow}`}
          kind={kind}
          configuration={one}
          onOpen={(action) => setOpen(opened(kind, one, action))}
        />
      ))}
      {!kind.readOnly && (
        <>
          <div class="row">
            {!at("project") && add("project", { project })}
            {!at("domain") && add("domain", { project, domain })}
          </div>
          <div class="row settings-workflow">
            <Picker
              label="Set for one workflow"
              value={workflow}
              source={`${project}/${domain}`}
              read={(words, token, signal) => readWorkflows(project, domain, words, token, signal)}
              onPick={setWorkflow}
            />
            {workflow &&
              !found.some((one) => one.workflow === workflow) &&
              add("workflow", { project, domain, workflow })}
          </div>
        </>
      )}
      {open?.action === "edit" && (
        <AttributeDialog {...open} kind={kind} onClose={() => setOpen(null)} onDone={() => changed(kind, "saved")} />
      )}
      {open?.action === "delete" && <DeleteDialog {...open} kind={kind} onClose={() => setOpen(null)} />}
    </div>
  );
}

function changed(kind: AttributeKind, word: string): void {
  toast(`${kind.label} ${word}`);
  refreshAll("ListMatchableAttributes");
}

function opened(kind: AttributeKind, one: Configuration, action: Open["action"]): Open {
  const scope = { project: one.project ?? "", domain: one.domain || undefined, workflow: one.workflow || undefined };
  return { action, scope, level: levelOf(one), value: one.attributes?.[kind.member] };
}

async function readWorkflows(project: string, domain: string, words: string, token: string, signal: AbortSignal) {
  const filters = words && !/[,()+]/.test(words) ? `contains(name,${words})` : "";
  const query = { limit: 25, token, filters, "sort_by.key": "name", "sort_by.direction": "ASCENDING" as const };
  const reply = await api(
    "ListNamedEntities",
    { path: { resource_type: "WORKFLOW", project, domain }, query },
    { signal },
  );
  const items = (reply.entities ?? []).map((entity) => ({ value: entity.id?.name ?? "", note: "" }));
  return { items, token: reply.token ?? "" };
}

interface OverrideProps {
  kind: AttributeKind;
  configuration: Configuration;
  onOpen: (action: Open["action"]) => void;
}

function Override({ kind, configuration, onOpen }: OverrideProps) {
  const level = levelOf(configuration);
  const name = configuration.workflow || configuration.domain || configuration.project || "";
  const facts = factsOf(kind, configuration.attributes);
  const where = { project: configuration.project || "*", domain: configuration.domain || "*" };
  return (
    <section class="card" aria-label={`${kind.label} of ${level} ${name}`}>
      <header>
        <h3>
          <span class="muted">{level}</span> {name}
        </h3>
        <span class="row spread">
          <Guarded
            need="admin"
            place={where}
            class="button small"
            aria-label={`Edit ${level} ${name}`}
            onClick={() => onOpen("edit")}
          >
            Edit
          </Guarded>
          <Guarded
            need="admin"
            place={where}
            class="button small"
            aria-label={`Delete ${level} ${name}`}
            onClick={() => onOpen("delete")}
          >
            Delete
          </Guarded>
        </span>
      </header>
      <dl class="facts settings-facts">
        {facts.length === 0 && <dd class="muted">set, but empty</dd>}
        {facts.map(([label, text]) => (
          <>
            <dt key={`${label} label`}>{label}</dt>
            <dd key={label}>{text}</dd>
          </>
        ))}
      </dl>
    </section>
  );
}

function DeleteDialog({ kind, scope, level, onClose }: Open & { kind: AttributeKind; onClose: () => void }) {
  const [failure, setFailure] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (): Promise<void> => {
    setBusy(true);
    try {
      await deleteAttributes(scope, kind.type);
      changed(kind, "deleted");
      onClose();
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error));
      setBusy(false);
    }
  };
  return (
    <Confirm
      title={`Delete this override?`}
      action="Delete"
      danger
      busy={busy}
      onConfirm={() => void submit()}
      onClose={onClose}
    >
      <p>
        {kind.label} of {level} {scope.workflow ?? scope.domain ?? scope.project}: the wider level's values hold again.
      </p>
      {failure && (
        <p class="field-problem" role="alert">
          {failure}
        </p>
      )}
    </Confirm>
  );
}
