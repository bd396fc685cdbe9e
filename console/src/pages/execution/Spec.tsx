/** Options that an execution was launched with, and its spec as JSON. */
import type { Schema } from "../../api/client.ts";
import { Copy } from "../../ui/Copy.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import type { RunStore } from "./store.ts";

export function Spec({ execution, store }: { execution: Schema<"admin.Execution">; store: RunStore }) {
  const { spec, closure } = execution;
  const runAs = spec?.security_context?.run_as;
  const system = spec?.metadata?.system_metadata;
  const text = JSON.stringify(spec ?? {}, null, 2);
  const facts: [string, string | number | boolean | null | undefined][] = [
    ["Project and domain", `${execution.id?.project} / ${execution.id?.domain}`],
    ["Cluster", system?.execution_cluster],
    ["Namespace", system?.namespace],
    ["Service account", runAs?.k8s_service_account],
    ["IAM role", runAs?.iam_role],
    ["Identity", runAs?.execution_identity],
    ["Raw output", spec?.raw_output_data_config?.output_location_prefix],
    ["Most nodes at once", spec?.max_parallelism || "no limit"],
    [
      "Interruptible",
      spec?.interruptible === null || spec?.interruptible === undefined
        ? "as the tasks say"
        : spec.interruptible
          ? "yes"
          : "no",
    ],
    ["Cache", spec?.overwrite_cache ? "overwritten" : "used"],
    ["Cluster label", spec?.execution_cluster_label?.value],
    ["Cluster pool", spec?.cluster_assignment?.cluster_pool_name],
    ["Nesting", spec?.metadata?.nesting || undefined],
    ["Scheduled for", spec?.metadata?.scheduled_at],
    ["State", closure?.state_change_details?.state === "EXECUTION_ARCHIVED" ? "archived" : "active"],
  ];
  return (
    <div class="execution-spec stack">
      {store.specError.value && <ErrorBox error={store.specError.value} />}
      <section class="card">
        <header>
          <h2>Options</h2>
        </header>
        <dl class="facts panel-text">
          {facts
            .filter(([, value]) => value !== undefined && value !== null && value !== "")
            .map(([name, value]) => (
              <Pair key={name} name={name} value={String(value)} />
            ))}
          {pairs(
            "Environment",
            spec?.envs?.values?.map((one) => [one.key ?? "", one.value ?? ""]),
          )}
          {pairs("Annotations", Object.entries(spec?.annotations?.values ?? {}))}
          {pairs("Labels", Object.entries(spec?.labels?.values ?? {}))}
        </dl>
      </section>
      <section class="card">
        <header>
          <h2>As JSON</h2>
          <Copy text={text} label="Copy the spec" />
        </header>
        <pre class="message panel-text" tabIndex={0}>
          {text}
        </pre>
      </section>
    </div>
  );
}

function Pair({ name, value }: { name: string; value: string }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </>
  );
}

function pairs(name: string, entries: readonly (readonly [string, string])[] | undefined) {
  if (!entries || entries.length === 0) return null;
  return <Pair name={name} value={entries.map(([key, value]) => `${key}=${value}`).join(", ")} />;
}
