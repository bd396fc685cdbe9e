/** The task of a node: image, command, resources, environment. */
import { api, type Schema } from "../../api/client.ts";
import { useLive } from "../../api/live.ts";
import type { RunNode } from "../../model/tree.ts";
import { links } from "../../routes.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";

export function TaskText({ node, attempt }: { node: RunNode; attempt: Schema<"admin.TaskExecution"> | undefined }) {
  const id = attempt?.id?.task_id ?? node.target;
  const path = {
    project: id?.project ?? "",
    domain: id?.domain ?? "",
    name: id?.name ?? "",
    version: id?.version ?? "",
  };
  const key = `GetTask ${path.project} ${path.domain} ${path.name} ${path.version}`;
  const live = useLive(id ? key : null, (signal) => api("GetTask", { path }, { signal }));
  if (live.error) return <ErrorBox error={live.error} />;
  const template = live.data?.closure?.compiled_task?.template;
  if (!template) return <Skeleton />;
  const container = template.container;
  const overrides = node.spec?.node.task_node?.overrides;
  return (
    <div class="panel-text stack">
      <p>
        <a href={links.version("task", path, path.name, path.version)}>{path.name}</a>{" "}
        <span class="muted">version</span> {path.version}
      </p>
      <dl class="facts small">
        <dt>Type</dt>
        <dd>{template.type}</dd>
        {container?.image && (
          <>
            <dt>Image</dt>
            <dd class="mono">{overrides?.container_image || container.image}</dd>
          </>
        )}
        <dt>Retries</dt>
        <dd>{node.spec?.node.metadata?.retries?.retries || template.metadata?.retries?.retries || 0}</dd>
        {(node.spec?.node.metadata?.timeout ?? template.metadata?.timeout) && (
          <>
            <dt>Timeout</dt>
            <dd>{node.spec?.node.metadata?.timeout ?? template.metadata?.timeout}</dd>
          </>
        )}
        <dt>Cache</dt>
        <dd>{template.metadata?.discoverable ? `version ${template.metadata.discovery_version}` : "off"}</dd>
        <Resources name="Requests" entries={overrides?.resources?.requests ?? container?.resources?.requests} />
        <Resources name="Limits" entries={overrides?.resources?.limits ?? container?.resources?.limits} />
      </dl>
      {container && (
        <>
          <h3>Command</h3>
          <pre class="message" tabIndex={0}>
            {[...(container.command ?? []), ...(container.args ?? [])].join(" ")}
          </pre>
        </>
      )}
      {container?.env && container.env.length > 0 && (
        <>
          <h3>Environment</h3>
          <dl class="facts small mono">
            {container.env.map((one) => (
              <Pair key={one.key} name={one.key ?? ""} value={one.value ?? ""} />
            ))}
          </dl>
        </>
      )}
      <details>
        <summary>Template as JSON</summary>
        <pre class="message" tabIndex={0}>
          {JSON.stringify(template, null, 2)}
        </pre>
      </details>
    </div>
  );
}

function Resources({
  name,
  entries,
}: {
  name: string;
  entries: readonly Schema<"core.Resources.ResourceEntry">[] | undefined;
}) {
  if (!entries || entries.length === 0) return null;
  return <Pair name={name} value={entries.map((one) => `${(one.name ?? "").toLowerCase()} ${one.value}`).join(", ")} />;
}

function Pair({ name, value }: { name: string; value: string }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </>
  );
}
