/** Inputs and outputs of executions, nodes and attempts. */
import { api, type Schema } from "../../api/client.ts";
import { useLive } from "../../api/live.ts";
import type { Literal } from "../../api/literals.ts";
import { asPhase, isTerminal } from "../../model/phases.ts";
import type { RunNode } from "../../model/tree.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Literals } from "./Literals.tsx";
import { pathOf } from "./store.ts";

/** Data that a node has while it runs is read again at this interval. */
const RUNNING_MS = 5000;

type LiteralMap = Readonly<Record<string, Literal>> | undefined;

export function NodeIo({ node, attempt, part }: { node: RunNode; attempt: Schema<"admin.TaskExecution"> | undefined; part: "inputs" | "outputs" }) {
  const { project, domain, name } = node.execution;
  const ended = isTerminal(node.phase);
  const path = { ...pathOf(node.execution), node_id: node.id };
  const key = `GetNodeExecutionData ${project} ${domain} ${name} ${node.id} ${ended ? "ended" : "active"}`;
  const live = useLive<Schema<"admin.NodeExecutionGetDataResponse">>(
    node.run ? key : null,
    (signal, _, background) => api("GetNodeExecutionData", { path }, { signal, background }),
    () => (ended ? null : RUNNING_MS),
  );
  if (live.error && !live.data) return <ErrorBox error={live.error} />;
  if (!live.data) return <Skeleton />;
  const literals: LiteralMap = part === "inputs" ? live.data.full_inputs?.literals : live.data.full_outputs?.literals;
  const uri = part === "inputs" ? node.run?.input_uri : (attempt?.closure?.output_uri ?? node.run?.closure?.output_uri);
  const template = node.spec && part;
  return (
    <Values
      literals={literals}
      label={`${part === "inputs" ? "Inputs" : "Outputs"} of ${node.name}`}
      uri={uri}
      ended={ended}
      remote={template ? `remote.sync_execution(remote.fetch_execution(name="${name}"), sync_nodes=True).node_executions["${node.id}"].${part}` : undefined}
      empty={part === "inputs" ? "This node has no inputs." : ended ? "This node has no outputs." : "No outputs yet."}
    />
  );
}

export function ExecutionIo({ execution }: { execution: Schema<"admin.Execution"> }) {
  const { project = "", domain = "", name = "" } = execution.id ?? {};
  const ended = isTerminal(asPhase(execution.closure?.phase));
  const key = `GetExecutionData ${project} ${domain} ${name} ${ended ? "ended" : "active"}`;
  const path = { project, domain, name };
  const live = useLive<Schema<"admin.WorkflowExecutionGetDataResponse">>(key, (signal, _, background) => api("GetExecutionData", { path }, { signal, background }), () => (ended ? null : RUNNING_MS));
  if (live.error && !live.data) return <ErrorBox error={live.error} />;
  if (!live.data) return <Skeleton />;
  return (
    <div class="execution-io">
      <section class="card">
        <header>
          <h2>Inputs</h2>
        </header>
        <Values
          literals={live.data.full_inputs?.literals}
          label="Inputs of the execution"
          uri={undefined}
          ended={ended}
          remote={`remote.fetch_execution(project="${project}", domain="${domain}", name="${name}").inputs`}
          empty="This execution has no inputs."
        />
      </section>
      <section class="card">
        <header>
          <h2>Outputs</h2>
        </header>
        <Values
          literals={live.data.full_outputs?.literals}
          label="Outputs of the execution"
          uri={execution.closure?.outputs?.uri}
          ended={ended}
          remote={`remote.sync_execution(remote.fetch_execution(project="${project}", domain="${domain}", name="${name}")).outputs`}
          empty={ended ? "This execution has no outputs." : "No outputs yet."}
        />
      </section>
    </div>
  );
}

interface ValuesProps {
  readonly literals: LiteralMap;
  readonly label: string;
  readonly uri: string | undefined;
  readonly ended: boolean;
  readonly remote: string | undefined;
  readonly empty: string;
}

function Values({ literals, label, uri, remote, empty }: ValuesProps) {
  const isEmpty = !literals || Object.keys(literals).length === 0;
  if (isEmpty) return <p class="panel-text muted">{empty}</p>;
  return (
    <div class="panel-text">
      <Literals literals={literals} label={label} remote={remote} uri={uri} />
    </div>
  );
}
