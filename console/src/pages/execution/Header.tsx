/** Name, phase, facts and actions of an execution. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Schema } from "../../api/client.ts";
import { refreshAll } from "../../api/live.ts";
import { Guarded, guarded } from "../../frame/Guarded.tsx";
import { asPhase, isTerminal } from "../../model/phases.ts";
import { durationMs } from "../../model/times.ts";
import { links, type Place } from "../../routes.ts";
import { Copy } from "../../ui/Copy.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { Menu } from "../../ui/Menu.tsx";
import { Phase } from "../../ui/Phase.tsx";
import { Duration, Time } from "../../ui/Time.tsx";
import { ArchiveDialog, RecoverDialog, RelaunchDialog, TerminateDialog } from "../actions/index.tsx";
import { keyOf } from "./store.ts";

type Execution = Schema<"admin.Execution">;
type DialogName = "terminate" | "recover" | "relaunch" | "archive";

export function Header({ execution }: { execution: Execution }) {
  const id = keyOf(execution.id);
  const { closure, spec } = execution;
  const phase = asPhase(closure?.phase);
  const workflow = closure?.workflow_id;
  const archived = closure?.state_change_details?.state === "EXECUTION_ARCHIVED";
  const running = !isTerminal(phase);
  const length = durationMs(closure?.duration);
  return (
    <header class="execution-head">
      <div class="execution-title">
        <h1>
          {workflow?.name ? (
            <a href={links.entity("workflow", placeOf(workflow), workflow.name)}>{workflow.name}</a>
          ) : (
            id.name
          )}
        </h1>
        <span class="mono execution-name">
          {id.name}
          <Copy text={id.name} label="Copy the name" />
        </span>
        <Phase phase={phase} pill />
        {length !== undefined ? (
          <Duration ms={length} />
        ) : (
          <Duration from={closure?.started_at} to={running ? undefined : closure?.updated_at} />
        )}
        {archived && <span class="chip">archived</span>}
        <Actions id={id} execution={execution} archived={archived} />
      </div>
      <Facts execution={execution} />
      <Labels spec={spec} />
    </header>
  );
}

function placeOf(id: { project?: string; domain?: string }): Place {
  return { project: id.project ?? "", domain: id.domain ?? "" };
}

function Actions({
  id,
  execution,
  archived,
}: {
  id: ReturnType<typeof keyOf>;
  execution: Execution;
  archived: boolean;
}) {
  const [dialog, setDialog] = useState<DialogName | undefined>();
  const phase = asPhase(execution.closure?.phase);
  const plan = execution.spec?.launch_plan;
  const isTask = plan?.resource_type === "TASK";
  const close = () => setDialog(undefined);
  const done = () => {
    close();
    refreshAll(`GetExecution ${id.project} ${id.domain} ${id.name}`);
    refreshAll(`ListNodeExecutions ${id.project} ${id.domain} ${id.name}`);
  };
  const launchName = isTask ? (plan?.name ?? "") : (execution.closure?.workflow_id?.name ?? "");
  const change = links.launch(isTask ? "task" : "workflow", placeOf(id), launchName, { from: id.name });
  return (
    <span class="execution-actions">
      <Guarded need="run" place={id} class="button" href={change}>
        <Icon name="rocket" /> Relaunch
      </Guarded>
      {(phase === "FAILED" || phase === "TIMED_OUT" || phase === "ABORTED") && (
        <Guarded need="run" place={id} class="button" onClick={() => setDialog("recover")}>
          <Icon name="refresh" /> Recover
        </Guarded>
      )}
      {!isTerminal(phase) && (
        <Guarded need="run" place={id} class="button" onClick={() => setDialog("terminate")}>
          <Icon name="stop" /> Terminate
        </Guarded>
      )}
      <Menu
        class="button icon-only"
        label="More actions"
        button={<Icon name="dots" />}
        items={() =>
          guarded("run", id, [
            { key: "relaunch", label: "Relaunch as it was…", onSelect: () => setDialog("relaunch") },
            { key: "archive", label: archived ? "Restore…" : "Archive…", onSelect: () => setDialog("archive") },
          ])
        }
      />
      {dialog === "terminate" && <TerminateDialog ids={[id]} onClose={close} onDone={done} />}
      {dialog === "archive" && <ArchiveDialog ids={[id]} restore={archived} onClose={close} onDone={done} />}
      {dialog === "recover" && <RecoverDialog id={id} onClose={close} />}
      {dialog === "relaunch" && <RelaunchDialog id={id} onClose={close} />}
    </span>
  );
}

const MODES: Record<string, string> = {
  SCHEDULED: "by a schedule",
  SYSTEM: "by the system",
  CHILD_WORKFLOW: "by an execution",
  RELAUNCH: "as a relaunch",
  RECOVERED: "as a recovery",
  TRIGGER: "by a trigger",
};

function Facts({ execution }: { execution: Execution }) {
  const { spec, closure } = execution;
  const metadata = spec?.metadata;
  const workflow = closure?.workflow_id;
  const plan = spec?.launch_plan;
  const parent = metadata?.parent_node_execution;
  const related = metadata?.reference_execution;
  const mode = MODES[metadata?.mode ?? ""];
  return (
    <div class="execution-facts small">
      {workflow?.version && (
        <Fact name="version">
          <a href={links.version("workflow", placeOf(workflow), workflow.name ?? "", workflow.version)}>
            {workflow.version}
          </a>
        </Fact>
      )}
      {plan?.resource_type === "LAUNCH_PLAN" && (
        <Fact name="launch plan">
          <a href={links.entity("launch_plan", placeOf(plan), plan.name ?? "")}>{plan.name}</a>
        </Fact>
      )}
      {plan?.resource_type === "TASK" && (
        <Fact name="task">
          <a href={links.version("task", placeOf(plan), plan.name ?? "", plan.version ?? "")}>{plan.name}</a>
        </Fact>
      )}
      <Fact name="launched">
        <Time at={closure?.created_at} /> {metadata?.principal ? `by ${metadata.principal}` : ""} {mode ?? ""}
      </Fact>
      {parent?.execution_id?.name && (
        <Fact name="parent">
          <a
            href={links.execution(keyOf(parent.execution_id), parent.execution_id.name, { node: parent.node_id ?? "" })}
          >
            {parent.execution_id.name} {parent.node_id}
          </a>
        </Fact>
      )}
      {related?.name && (
        <Fact name={metadata?.mode === "RECOVERED" ? "recovers" : "relaunch of"}>
          <a href={links.execution(keyOf(related), related.name)}>{related.name}</a>
        </Fact>
      )}
      {spec?.interruptible !== null && spec?.interruptible !== undefined && (
        <Fact name="interruptible">{spec.interruptible ? "yes" : "no"}</Fact>
      )}
      {spec?.overwrite_cache && <Fact name="cache">overwritten</Fact>}
    </div>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <span class="fact">
      <span class="muted">{name}</span> {children}
    </span>
  );
}

function Labels({ spec }: { spec: Execution["spec"] }) {
  const labels = Object.entries(spec?.labels?.values ?? {});
  const tags = spec?.tags ?? [];
  if (labels.length + tags.length === 0) return null;
  return (
    <ul class="row tight execution-labels" aria-label="Tags and labels">
      {tags.map((tag) => (
        <li key={`tag ${tag}`} class="chip">
          <Icon name="tag" size={12} label="tag" />
          {tag}
        </li>
      ))}
      {labels.map(([key, value]) => (
        <li key={`label ${key}`} class="chip">
          {key}
          {value ? `: ${value}` : ""}
        </li>
      ))}
    </ul>
  );
}
