/** Inputs and outputs of executions and nodes. */
import { api, type Schema } from "../../api/client.ts";
import { useLive } from "../../api/live.ts";
import { asPhase, isTerminal } from "../../model/phases.ts";
import type { RunNode } from "../../model/tree.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Values } from "../values/index.tsx";
import { pathOf } from "./store.ts";

/** Data that a node has while it runs is read again at this interval. */
const RUNNING_MS = 5000;

export type NodeData = Schema<"admin.NodeExecutionGetDataResponse">;

/** Read inputs and outputs of a node, again while it is active. */
export function useNodeData(node: RunNode) {
  const { project, domain, name } = node.execution;
  const ended = isTerminal(node.phase);
  const path = { ...pathOf(node.execution), node_id: node.id };
  const key = `GetNodeExecutionData ${project} ${domain} ${name} ${node.id} ${ended ? "ended" : "active"}`;
  return useLive<NodeData>(
    node.run ? key : null,
    (signal, _, background) => api("GetNodeExecutionData", { path }, { signal, background }),
    () => (ended ? null : RUNNING_MS),
  );
}

export function NodeIo({ node, part }: { node: RunNode; part: "inputs" | "outputs" }) {
  const live = useNodeData(node);
  if (live.error && !live.data) return <ErrorBox error={live.error} />;
  if (!live.data) return <Skeleton />;
  const { full_inputs, full_outputs, inputs, outputs, flyte_urls } = live.data;
  const isInputs = part === "inputs";
  return (
    <div class="panel-text">
      <Values
        label={part}
        literals={isInputs ? full_inputs : full_outputs}
        stored={isInputs ? inputs : outputs}
        place={node.execution}
        flyteUrl={(isInputs ? flyte_urls?.inputs : flyte_urls?.outputs) || undefined}
        empty={
          isInputs
            ? "This node has no inputs."
            : isTerminal(node.phase)
              ? "This node has no outputs."
              : "No outputs yet."
        }
      />
    </div>
  );
}

export function ExecutionIo({ execution }: { execution: Schema<"admin.Execution"> }) {
  const { project = "", domain = "", name = "" } = execution.id ?? {};
  const ended = isTerminal(asPhase(execution.closure?.phase));
  const key = `GetExecutionData ${project} ${domain} ${name} ${ended ? "ended" : "active"}`;
  const path = { project, domain, name };
  const live = useLive<Schema<"admin.WorkflowExecutionGetDataResponse">>(
    key,
    (signal, _, background) => api("GetExecutionData", { path }, { signal, background }),
    () => (ended ? null : RUNNING_MS),
  );
  if (live.error && !live.data) return <ErrorBox error={live.error} />;
  if (!live.data) return <Skeleton />;
  const { full_inputs, full_outputs, inputs, outputs } = live.data;
  return (
    <div class="execution-io">
      <section class="card">
        <header>
          <h2>Inputs</h2>
        </header>
        <div class="panel-text">
          <Values
            label="inputs"
            literals={full_inputs}
            stored={inputs}
            place={path}
            empty="This execution has no inputs."
          />
        </div>
      </section>
      <section class="card">
        <header>
          <h2>Outputs</h2>
        </header>
        <div class="panel-text">
          <Values
            label="outputs"
            literals={full_outputs}
            stored={outputs}
            place={path}
            empty={ended ? "This execution has no outputs." : "No outputs yet."}
          />
        </div>
      </section>
    </div>
  );
}
