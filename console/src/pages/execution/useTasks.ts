/** The attempts of a node, the oldest first. The panel and the cause of a failure share one poll. */
import { useEffect, useRef } from "preact/hooks";
import { api, type Schema } from "../../api/client.ts";
import { useLive } from "../../api/live.ts";
import { asPhase, isTerminal } from "../../model/phases.ts";
import { attemptTimes } from "../../model/timeline.ts";
import type { RunNode } from "../../model/tree.ts";
import type { RunStore } from "./store.ts";

type Task = Schema<"admin.TaskExecution">;

/** Kinds of nodes that run a task. */
const WITH_ATTEMPTS: readonly string[] = ["task", "dynamic", "eager", "map", "unknown"];
/** A map of more indices is read less often: each read returns all of them. */
const MANY_INDICES = 1000;

/** Read the attempts of a node, again while it is active; undefined while there is no node. */
export function useTasks(node: RunNode | undefined, store: RunStore) {
  const { project, domain, name } = node?.execution ?? store.execution;
  const hasAttempts = node?.run !== undefined && WITH_ATTEMPTS.includes(node.kind);
  const ended = node !== undefined && isTerminal(node.phase);
  const key = `ListTaskExecutions ${project} ${domain} ${name} ${node?.id} ${ended ? "ended" : "active"}`;
  const live = useLive<readonly Task[]>(
    hasAttempts ? key : null,
    async (signal, _, background) => {
      const path = { project, domain, name, node_id: node?.id ?? "" };
      const reply = await api("ListTaskExecutions", { path, query: { limit: 100 } }, { signal, background });
      return [...(reply.task_executions ?? [])].sort((a, b) => (a.id?.retry_attempt ?? 0) - (b.id?.retry_attempt ?? 0));
    },
    (tasks) => {
      if (ended && tasks.every((task) => isTerminal(asPhase(task.closure?.phase)))) return null;
      if (ended) return store.interval();
      const indices = tasks.at(-1)?.closure?.metadata?.external_resources?.length ?? 0;
      return indices > MANY_INDICES ? 5000 : 1000;
    },
  );
  // While the key changes at the end of the node; those of another node do not count.
  const id = [project, domain, name, node?.id].join("/");
  const last = useRef({ id, data: live.data });
  if (live.data || last.current.id !== id) last.current = { id, data: live.data };
  useEffect(() => {
    const times = live.data?.flatMap((task) => attemptTimes(task) ?? []);
    if (node && times && times.length > 0) store.setAttempts(node, times);
  }, [live.data]);
  return { ...live, data: live.data ?? last.current.data };
}
