import type { Task } from "../../api/entities.ts";
import type { JsonValue } from "../../api/json.ts";
import { treeOfJson } from "../../model/valueTree.ts";
import { Json } from "../../ui/Json.tsx";

type Template = NonNullable<NonNullable<NonNullable<Task["closure"]>["compiled_task"]>["template"]>;

/** A task's container, resources, environment, retries and cache, and its template as JSON. */
export function TaskVersion({ task }: { task: Task }) {
  const template = task.closure?.compiled_task?.template;
  if (!template) return null;
  return (
    <>
      <section class="card">
        <header>
          <h2>Task</h2>
        </header>
        <dl class="facts body">
          {facts(template).map(([label, text]) => (
            <Fact key={label} label={label} text={text} />
          ))}
        </dl>
      </section>
      <Environment template={template} />
      <section class="card">
        <header>
          <h2>Template</h2>
        </header>
        <div class="body">
          <Json root={treeOfJson(template as unknown as JsonValue)} label="the template" />
        </div>
      </section>
    </>
  );
}

function Fact({ label, text }: { label: string; text: string }) {
  return (
    <>
      <dt>{label}</dt>
      <dd class="mono">{text}</dd>
    </>
  );
}

/** Return the facts of a template; those that are not set are left out. */
function facts(template: Template): [string, string][] {
  const { metadata, container } = template;
  const found: [string, string | undefined][] = [
    ["Type", template.type],
    ["Image", container?.image],
    ["Command", [...(container?.command ?? []), ...(container?.args ?? [])].join(" ")],
    ["Requests", resources(container?.resources?.requests)],
    ["Limits", resources(container?.resources?.limits)],
    ["Retries", metadata?.retries?.retries ? String(metadata.retries.retries) : undefined],
    ["Timeout", metadata?.timeout ?? undefined],
    ["Cache", cache(template)],
    ["Interruptible", metadata?.interruptible ? "yes" : undefined],
    ["Deprecated", metadata?.deprecated_error_message],
    ["Runtime", [metadata?.runtime?.flavor, metadata?.runtime?.version].filter(Boolean).join(" ")],
  ];
  return found.flatMap(([label, text]) => (text ? [[label, text]] : []));
}

function resources(entries: readonly { name?: string; value?: string }[] | undefined): string {
  return (entries ?? []).map((one) => `${one.name?.toLowerCase()} ${one.value}`).join(", ");
}

function cache(template: Template): string {
  const { metadata } = template;
  if (!metadata?.discoverable) return "off";
  const serial = metadata.cache_serializable ? ", one at a time" : "";
  return `version ${metadata.discovery_version}${serial}`;
}

function Environment({ template }: { template: Template }) {
  const env = template.container?.env ?? [];
  if (env.length === 0) return null;
  return (
    <section class="card">
      <header>
        <h2>Environment</h2>
      </header>
      <dl class="facts body">
        {env.map((one) => (
          <Fact key={one.key} label={one.key ?? ""} text={one.value ?? ""} />
        ))}
      </dl>
    </section>
  );
}
