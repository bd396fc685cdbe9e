/** The page of an execution: header, cause of a failure, and the run as timeline or graph, with a panel for one node. */
import { useEffect, useMemo } from "preact/hooks";
import { type ApiError, api, type Schema } from "../../api/client.ts";
import { refresh, useLive } from "../../api/live.ts";
import { navigate, setQuery } from "../../location.ts";
import { asPhase, isFailure, isTerminal } from "../../model/phases.ts";
import { firstFailure, newestActive } from "../../model/rows.ts";
import { links, type PageProps } from "../../routes.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Tabs } from "../../ui/Tabs.tsx";
import { GraphView } from "./GraphView.tsx";
import { Header } from "./Header.tsx";
import { ExecutionIo } from "./io.tsx";
import { Notifications } from "./Notifications.tsx";
import { Panel } from "./Panel.tsx";
import { Problem } from "./Problem.tsx";
import { Spec } from "./Spec.tsx";
import { autoNode, dismissed, queryOfAttempt, selection, type TabKey } from "./selection.ts";
import { RunStore } from "./store.ts";
import { Timeline } from "./Timeline.tsx";
import "./style.css";

/** Levels of containers that are opened to find the failed leaf. */
const FAILURE_LEVELS_MAX = 10;

export default function ExecutionPage({ project, domain, name, at }: PageProps<"execution">) {
  const store = useMemo(() => {
    autoNode.value = undefined;
    dismissed.value = false;
    return new RunStore({ project, domain, name });
  }, [project, domain, name]);
  useEffect(() => {
    if (at) navigate(links.execution({ project, domain }, name, queryOfAttempt(at)), { replace: true });
  }, [at]);
  useEffect(() => {
    document.title = `${name} · Flyte`;
  }, [name]);
  const path = { project, domain, name };
  const live = useLive<Schema<"admin.Execution">>(
    `GetExecution ${project} ${domain} ${name}`,
    (signal, _, background) => api("GetExecution", { path }, { signal, background }),
    (execution) => (isTerminal(asPhase(execution.closure?.phase)) ? null : (store.interval() ?? 1000)),
  );
  const nodesKey = `ListNodeExecutions ${project} ${domain} ${name}`;
  // The server answers an empty list for the nodes of an execution that does not exist or is forbidden.
  const isRefused = !live.data && live.error !== undefined && !live.error.isTransient;
  const nodes = useLive<number>(
    isRefused ? null : nodesKey,
    (signal, _, background) => store.poll({ signal, background }),
    () => store.interval(),
  );
  const execution = live.data;
  useRun(store, execution, nodesKey, nodes.at > 0);
  if (!execution) {
    if (live.error) return <Missing error={live.error} name={name} project={project} domain={domain} />;
    return <Skeleton />;
  }
  const { tab } = selection.value;
  const tabs: { key: TabKey; label: string }[] = [
    { key: "timeline", label: "Timeline" },
    { key: "graph", label: "Graph" },
    { key: "io", label: "Inputs and outputs" },
    { key: "spec", label: "Spec" },
  ];
  // A bookmark of an execution without rules shows the tab, too.
  const rules = execution.closure?.notifications?.length ?? 0;
  if (rules > 0 || tab === "notifications") tabs.push({ key: "notifications", label: "Notifications" });
  const isRunView = tab === "timeline" || tab === "graph";
  return (
    <div class={isRunView ? "execution run-view" : "execution"}>
      <Header execution={execution} />
      <Problem execution={execution} store={store} />
      {live.error && <ErrorBox error={live.error} />}
      <Tabs
        tabs={tabs}
        value={tab}
        label="Views of the execution"
        onChange={(key) => setQuery({ tab: key === "timeline" ? null : key }, { push: true })}
      >
        {isRunView && nodes.error && !nodes.at && <ErrorBox error={nodes.error} onRetry={() => refresh(nodesKey)} />}
        {isRunView && (
          <div class="run">
            {tab === "timeline" ? (
              <Timeline store={store} execution={execution} isRead={nodes.at > 0} />
            ) : (
              <GraphView store={store} />
            )}
            <Panel store={store} />
          </div>
        )}
        {tab === "io" && <ExecutionIo execution={execution} />}
        {tab === "notifications" && <Notifications execution={execution} />}
        {tab === "spec" && <Spec execution={execution} store={store} />}
      </Tabs>
    </div>
  );
}

/** Keep the store in step with the execution, and select a node where the user has not. */
function useRun(
  store: RunStore,
  execution: Schema<"admin.Execution"> | undefined,
  nodesKey: string,
  isRead: boolean,
): void {
  const phase = asPhase(execution?.closure?.phase);
  const workflow = execution?.closure?.workflow_id;
  useEffect(() => {
    if (workflow) void store.loadSpec(workflow);
  }, [store, workflow !== undefined && workflow !== null]);
  useEffect(() => {
    if (!execution || store.ended === isTerminal(phase)) return;
    store.ended = isTerminal(phase);
    // The last nodes may have ended after the last poll.
    if (store.ended && isRead && !store.allTerminal()) refresh(nodesKey);
  }, [store, phase, isRead]);
  const version = store.version.value;
  useEffect(() => {
    if (!execution || !isRead) return;
    if (isFailure(phase) || phase === "FAILING") void selectFailure(store);
    else if (isTerminal(phase)) autoNode.value = undefined;
    else autoNode.value = newestActive(store.tree)?.key;
  }, [store, phase, isRead, version]);
  useEffect(() => {
    if (!isRead) return undefined;
    const timer = setTimeout(() => void store.readAttempts(), 300);
    return () => clearTimeout(timer);
  }, [store, isRead, version]);
}

async function selectFailure(store: RunStore): Promise<void> {
  for (let level = 0; level < FAILURE_LEVELS_MAX; level++) {
    const found = firstFailure(store.tree);
    if (!found) return;
    const canLoad =
      found.hasMore && !store.failures.peek().has(found.node.key) && !store.loading.peek().has(found.node.key);
    if (!canLoad) {
      store.unfoldAbove(found.node);
      autoNode.value = found.node.key;
      return;
    }
    await store.load(found.node);
  }
}

function Missing({ error, name, project, domain }: { error: ApiError; name: string; project: string; domain: string }) {
  if (error.status !== 404) return <ErrorBox error={error} />;
  return (
    <div class="empty">
      <h1>There is no execution {name}</h1>
      <p>
        Nothing of this name in project {project}, domain {domain}. It may be in another domain.{" "}
        <a href={links.executions({ project, domain })}>Executions of {project}</a>
      </p>
    </div>
  );
}
