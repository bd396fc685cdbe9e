import type { Execution } from "../../api/entities.ts";

/** Return the settings of an execution that a comparison shows, by their names. */
export function factsOf(execution: Execution): Record<string, unknown> {
  const { spec, closure } = execution;
  return {
    workflow: closure?.workflow_id?.name,
    "workflow version": closure?.workflow_id?.version,
    "launch plan": spec?.launch_plan?.name,
    "launch plan version": spec?.launch_plan?.version,
    phase: closure?.phase,
    duration: closure?.duration,
    mode: spec?.metadata?.mode,
    "launched by": spec?.metadata?.principal ?? "",
    cluster: spec?.metadata?.system_metadata?.execution_cluster ?? "",
    labels: spec?.labels?.values ?? {},
    annotations: spec?.annotations?.values ?? {},
    tags: spec?.tags ?? [],
    environment: Object.fromEntries((spec?.envs?.values ?? []).map((one) => [one.key ?? "", one.value ?? ""])),
    "nodes at once": spec?.max_parallelism,
    interruptible: spec?.interruptible,
    "overwrites the cache": spec?.overwrite_cache,
    "raw output": spec?.raw_output_data_config?.output_location_prefix ?? "",
    "service account": spec?.security_context?.run_as?.k8s_service_account ?? "",
  };
}
