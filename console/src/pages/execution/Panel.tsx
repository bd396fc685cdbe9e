/** The panel of one node: attempts, log, error, inputs, outputs, deck, task; and what the kind of node adds. */
import { useEffect, useRef } from "preact/hooks";
import type { Schema } from "../../api/client.ts";
import { setQuery } from "../../location.ts";
import { noticesOf } from "../../model/notices.ts";
import { asPhase, isFailure, type Phase, phaseGroup } from "../../model/phases.ts";
import { attemptTimes } from "../../model/timeline.ts";
import type { RunNode } from "../../model/tree.ts";
import { links } from "../../routes.ts";
import { Copy } from "../../ui/Copy.tsx";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox, Notice } from "../../ui/ErrorBox.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { useKeys } from "../../ui/keys.ts";
import { PhaseIcon, Phase as PhaseText } from "../../ui/Phase.tsx";
import { Tabs } from "../../ui/Tabs.tsx";
import { Duration, Time } from "../../ui/Time.tsx";
import { Answer } from "./Answer.tsx";
import { Arms } from "./Arms.tsx";
import { AttemptLog } from "./AttemptLog.tsx";
import { Deck } from "./Deck.tsx";
import { ErrorText } from "./ErrorText.tsx";
import { Events } from "./Events.tsx";
import { Indices } from "./Indices.tsx";
import { NodeIo } from "./io.tsx";
import { kindLabel } from "./kinds.ts";
import { closePanel, type PanelKey, selection } from "./selection.ts";
import { keyOf, type RunStore } from "./store.ts";
import { TaskText } from "./TaskText.tsx";
import { useTasks } from "./useTasks.ts";

type Task = Schema<"admin.TaskExecution">;

export function Panel({ store }: { store: RunStore }) {
  const key = selection.value.node;
  void store.version.value;
  const node = key === undefined ? undefined : store.tree.find(key);
  useEffect(() => {
    if (key !== undefined && !store.tree.find(key)) void store.reveal(key);
    else if (node) store.unfoldAbove(node);
  }, [store, key, node !== undefined]);
  useEscape(key !== undefined);
  if (key === undefined) return null;
  if (!node) {
    return (
      <aside class="panel" aria-label="Node">
        <header class="panel-head">
          <h2>{key}</h2>
          <CloseButton />
        </header>
        {store.tree.isLoaded("") ? <p class="panel-text">No node of this name was found so far.</p> : <Skeleton />}
      </aside>
    );
  }
  return <NodePanel key={node.key} node={node} store={store} />;
}

function CloseButton() {
  return (
    <button type="button" class="button quiet small icon-only" onClick={closePanel}>
      <Icon name="cross" label="Close the panel" />
    </button>
  );
}

function useEscape(isOpen: boolean): void {
  useEffect(() => {
    if (!isOpen) return undefined;
    const listen = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (
        event.key !== "Escape" ||
        event.defaultPrevented ||
        target.closest("dialog, [popover], input, textarea, select")
      )
        return;
      closePanel();
      (document.querySelector(".tree") as HTMLElement | null)?.focus();
    };
    document.addEventListener("keydown", listen);
    return () => document.removeEventListener("keydown", listen);
  }, [isOpen]);
}

function NodePanel({ node, store }: { node: RunNode; store: RunStore }) {
  const tasks = useTasks(node, store);
  const all = tasks.data ?? [];
  const { attempt: wanted, panel: wantedPanel } = selection.value;
  const attempt = all[wanted === undefined ? all.length - 1 : Math.min(wanted, all.length) - 1];
  const tabs = tabsOf(node, attempt);
  const panel = tabs.find((tab) => tab.key === wantedPanel)?.key ?? defaultPanel(node, tabs);
  const frame = useRef<HTMLElement>(null);
  useAttemptKeys(all.length);
  return (
    <aside class="panel" aria-label={`Node ${node.name}`} ref={frame} tabIndex={-1}>
      <header class="panel-head">
        <h2 class="ellipsis" title={node.name}>
          {node.name}
        </h2>
        <PhaseText phase={node.phase} pill />
        <CloseButton />
      </header>
      <NodeFacts node={node} />
      {all.length > 1 && <Attempts tasks={all} shown={attempt} />}
      {tasks.error && <ErrorBox error={tasks.error} />}
      {noticesOf(attempt?.closure?.reasons).map((line) => (
        <Notice key={line} warning>
          {line}
        </Notice>
      ))}
      {tabs.length > 0 && (
        <Tabs
          tabs={tabs}
          value={panel}
          label={`Parts of ${node.name}`}
          onChange={(key) => setQuery({ node: node.key, panel: key, line: null })}
        >
          <Part panel={panel} node={node} attempt={attempt} store={store} isRead={tasks.data !== undefined} />
        </Tabs>
      )}
      {tabs.length === 0 && <p class="panel-text muted">{emptyText(node)}</p>}
    </aside>
  );
}

function emptyText(node: RunNode): string {
  if (node.phase === "SKIPPED") return "This node was skipped.";
  return node.phase === "NOT_STARTED" ? "This node has not started." : "";
}

interface PartProps {
  readonly panel: PanelKey;
  readonly node: RunNode;
  readonly attempt: Task | undefined;
  readonly store: RunStore;
  readonly isRead: boolean;
}

function Part({ panel, node, attempt, store, isRead }: PartProps) {
  switch (panel) {
    case "log":
      return attempt || isRead ? <AttemptLog node={node} attempt={attempt} /> : <Skeleton />;
    case "error":
      return <ErrorText node={node} attempt={attempt} />;
    case "indices":
      return attempt ? <Indices node={node} attempt={attempt} /> : <Skeleton />;
    case "arms":
      return <Arms node={node} store={store} />;
    case "answer":
      return <Answer node={node} />;
    case "inputs":
    case "outputs":
      return <NodeIo node={node} part={panel} />;
    case "deck":
      return <Deck node={node} />;
    case "task":
      return <TaskText node={node} attempt={attempt} />;
    default:
      return <Events node={node} attempt={attempt} store={store} />;
  }
}

function tabsOf(node: RunNode, attempt: Task | undefined): { key: PanelKey; label: string }[] {
  const isTask = ["task", "dynamic", "eager", "unknown"].includes(node.kind);
  const closure = node.run?.closure;
  const hasError = closure?.error !== undefined || attempt?.closure?.error !== undefined;
  const hasDeck = Boolean(closure?.deck_uri) || (node.spec?.task?.metadata?.generates_deck ?? false);
  const wanted: [PanelKey, string, boolean][] = [
    ["answer", "Answer", node.kind === "gate"],
    ["arms", "Arms", node.kind === "branch"],
    ["indices", "Indices", node.kind === "map" && node.run !== undefined],
    ["log", "Log", isTask && node.run !== undefined],
    ["error", "Error", hasError],
    ["inputs", "Inputs", node.run !== undefined],
    ["outputs", "Outputs", node.run !== undefined],
    ["deck", "Deck", hasDeck && node.run !== undefined],
    ["task", "Task", node.target?.resource_type === "TASK" || attempt !== undefined],
    ["events", "Events", node.run !== undefined],
  ];
  return wanted.filter(([, , shown]) => shown).map(([key, label]) => ({ key, label }));
}

function defaultPanel(node: RunNode, tabs: readonly { key: PanelKey }[]): PanelKey {
  const failed = isFailure(node.phase) || node.phase === "ABORTED";
  const order: PanelKey[] = failed ? ["indices", "log", "error"] : ["answer", "arms", "indices", "log", "outputs"];
  return order.find((key) => tabs.some((tab) => tab.key === key)) ?? tabs[0]?.key ?? "events";
}

function NodeFacts({ node }: { node: RunNode }) {
  const childId = node.run?.closure?.workflow_node_metadata?.executionId;
  const child = node.kind === "execution" ? node.execution : childId ? keyOf(childId) : undefined;
  const source = node.run?.closure?.task_node_metadata?.catalog_key?.source_task_execution?.node_execution_id;
  const cache = cacheText(node.run?.closure?.task_node_metadata?.cache_status);
  return (
    <div class="panel-facts small">
      <span class="muted">{kindLabel(node.kind)}</span>
      {node.id && node.run && (
        <span class="mono">
          {node.id}
          <Copy text={node.id} label="Copy the id of the node" />
        </span>
      )}
      {node.target?.name && <Target node={node} />}
      {node.startedMs !== undefined && (
        <span>
          started <Time at={node.startedMs} />, ran <Duration from={node.startedMs} to={node.endedMs} />
          {node.createdMs !== undefined && node.startedMs - node.createdMs >= 100 && (
            <>
              , queued <Duration ms={node.startedMs - node.createdMs} />
            </>
          )}
        </span>
      )}
      {cache && <span>{cache}</span>}
      {source && (
        <a
          href={links.execution(keyOf(source.execution_id), source.execution_id?.name ?? "", {
            node: source.node_id ?? "",
          })}
        >
          {node.phase === "RECOVERED" ? "recovered from" : "produced by"} {source.execution_id?.name}
        </a>
      )}
      {child && <a href={links.execution(child, child.name)}>execution {child.name}</a>}
    </div>
  );
}

function Target({ node }: { node: RunNode }) {
  const { target } = node;
  const kinds = { TASK: "task", WORKFLOW: "workflow", LAUNCH_PLAN: "launch_plan" } as const;
  const kind = kinds[target?.resource_type as keyof typeof kinds];
  if (!kind || !target) return null;
  const place = { project: target.project ?? "", domain: target.domain ?? "" };
  return <a href={links.version(kind, place, target.name ?? "", target.version ?? "")}>{target.name}</a>;
}

const CACHE_TEXTS: Record<string, string> = {
  CACHE_HIT: "from the cache",
  CACHE_MISS: "not in the cache",
  CACHE_POPULATED: "written to the cache",
  CACHE_LOOKUP_FAILURE: "the cache could not be read",
  CACHE_PUT_FAILURE: "the cache could not be written",
  CACHE_SKIPPED: "cache skipped",
  CACHE_EVICTED: "cache entry evicted",
};

function cacheText(status: string | undefined): string {
  return CACHE_TEXTS[status ?? ""] ?? "";
}

function Attempts({ tasks, shown }: { tasks: readonly Task[]; shown: Task | undefined }) {
  return (
    <div class="attempts" role="group" aria-label="Attempts">
      <span class="muted small">Attempts</span>
      {tasks.map((task, index) => {
        const phase: Phase = asPhase(task.closure?.phase);
        return (
          <button
            key={index}
            type="button"
            class={`button small phase-${phaseGroup(phase)}`}
            aria-pressed={task === shown}
            title={phase}
            onClick={() => setQuery({ attempt: index + 1, line: null })}
          >
            {index + 1}
            <span class="phase">
              <PhaseIcon group={phaseGroup(phase)} size={12} />
            </span>
          </button>
        );
      })}
      {shown && <AttemptFacts task={shown} />}
    </div>
  );
}

function AttemptFacts({ task }: { task: Task }) {
  const times = attemptTimes(task);
  if (times?.startedMs === undefined) return null;
  return (
    <span class="small">
      started <Time at={times.startedMs} />, ran <Duration from={times.startedMs} to={times.endedMs} />, queued{" "}
      <Duration ms={times.startedMs - times.createdMs} />
    </span>
  );
}

/** `[` and `]` go to the attempt before and after. */
function useAttemptKeys(count: number): void {
  const go = (by: number) => () => {
    const now = selection.peek().attempt ?? count;
    if (count > 1) setQuery({ attempt: Math.min(count, Math.max(1, now + by)), line: null });
  };
  useKeys("Attempts", [
    { keys: "[", text: "attempt before", run: go(-1) },
    { keys: "]", text: "attempt after", run: go(1) },
  ]);
}
