/**
 * The data of an execution page: the tree, its containers as they are opened, and the attempts of the timeline.
 *
 * A container is read in whole once, then by `filters=gte(updated_at,T)` while its node is active. T is the last
 * `updated_at` of the server's own replies less an overlap, so the browser's clock does not matter. Because a node's
 * events may carry the time of another machine, a container is also read in whole from time to time.
 */
import { signal } from "@preact/signals";
import { ApiError, api, type Reply, type Schema } from "../../api/client.ts";
import { asPhase, isTerminal } from "../../model/phases.ts";
import { type Operation, operationsByNode } from "../../model/spans.ts";
import { ClosureIndex } from "../../model/spec.ts";
import { type AttemptTimes, attemptKey, attemptsFromSpans } from "../../model/timeline.ts";
import { durationMs, timeMs } from "../../model/times.ts";
import { type ChildExecution, type ExecutionKey, ROOT, type RunNode, RunTree } from "../../model/tree.ts";

/** Rows of one list call. */
const PAGE_ROWS = 10_000;
/** Node executions of one container that are read at most; more are counted, not shown. */
export const ROWS_MAX = 100_000;
const OVERLAP_MS = 2000;
const WHOLE_EVERY_MS = 30_000;
/** Largest execution whose attempts are read for the timeline in one call. */
const ATTEMPTS_NODES_MAX = 1000;
/** Children of an eager task that are shown, and that one call reads. */
const EAGER_ROWS_MAX = 5000;
const EAGER_PAGE_ROWS = 1000;
const EAGER_LABEL = "eager-exec";

interface ContainerState {
  execution: ExecutionKey;
  /** `unique_parent_id`; "" for the top nodes of an execution. */
  parentId: string;
  kind: "nodes" | "eager";
  /** Whether a read began after the node was terminal, so that nothing changes any more. */
  settled: boolean;
  wholeAt: number;
  /** More nodes than `ROWS_MAX`. */
  truncated: boolean;
}

type Call = { signal?: AbortSignal | undefined; background?: boolean };

/** Data of one execution page; `version` changes whenever the tree or the attempts do. */
export class RunStore {
  readonly tree: RunTree;
  readonly version = signal(0);
  readonly loading = signal<ReadonlySet<string>>(new Set());
  readonly failures = signal<ReadonlyMap<string, ApiError>>(new Map());
  readonly unfolded = signal<ReadonlyMap<string, boolean>>(new Map());
  readonly specError = signal<ApiError | undefined>(undefined);
  attempts: ReadonlyMap<string, readonly AttemptTimes[]> = new Map();
  private operations: ReadonlyMap<string, readonly Operation[]> = new Map();
  /** Time of the last change that a poll found, in ms since 1970. */
  changedAt = Date.now();
  /** The phase of the execution itself, as last read. */
  ended = false;
  private readonly containers = new Map<string, ContainerState>();
  private readonly scopes = new Map<string, Promise<ClosureIndex>>();
  private readonly dynamicTried = new Map<string, string>();
  private attemptsAt = 0;
  private attemptsVersion = -1;
  private published = -1;

  constructor(readonly execution: ExecutionKey) {
    this.tree = new RunTree(execution);
    this.containers.set(ROOT, container(execution, "", "nodes"));
  }

  /** Whether a row's children are shown. */
  isOpen = (node: RunNode): boolean =>
    (this.unfolded.value.get(node.key) ?? false) &&
    (node.run === undefined && node.kind !== "execution" ? true : this.tree.isLoaded(node.key));

  /** Fold or unfold a row, and read its children when it is unfolded first. */
  async setOpen(node: RunNode, open: boolean): Promise<void> {
    const next = new Map(this.unfolded.peek());
    next.set(node.key, open);
    this.unfolded.value = next;
    if (open) await this.load(node);
  }

  /** Read the children of a row once; failures are kept for the row. */
  async load(node: RunNode): Promise<void> {
    if (!node.isContainer || this.tree.isLoaded(node.key) || this.loading.peek().has(node.key)) return;
    if (node.run === undefined && node.kind !== "execution") return;
    this.loading.value = new Set(this.loading.peek()).add(node.key);
    try {
      await this.prepare(node);
      await this.readContainer(node.key, {});
      this.setFailure(node.key, undefined);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.setFailure(node.key, error);
    } finally {
      const rest = new Set(this.loading.peek());
      rest.delete(node.key);
      this.loading.value = rest;
    }
  }

  /** Read the workflow of the execution, for the nodes that have not started. */
  async loadSpec(id: Schema<"core.Identifier"> | null | undefined): Promise<void> {
    try {
      const index = await this.closureOf(id);
      this.tree.setScope(ROOT, index.root);
      this.specError.value = undefined;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.specError.value = error;
    }
    this.publish();
  }

  /** Read what changed in all containers that can change. Returns the version of the tree. */
  async poll(call: Call): Promise<number> {
    await this.readContainer(ROOT, call);
    for (const node of [...this.tree.walk()]) {
      const state = this.containers.get(node.key);
      if (!state || !this.tree.isLoaded(node.key)) continue;
      if (!state.settled) await this.readContainer(node.key, call, isTerminal(node.phase));
      else if (node.kind === "dynamic" && !this.tree.hasScope(node.key)) await this.readDynamic(node, call);
    }
    this.publish();
    return this.tree.version;
  }

  /** Return the time until the next poll in ms; null when nothing changes any more. */
  interval(): number | null {
    if (this.ended && this.allTerminal()) return null;
    const quiet = Date.now() - this.changedAt;
    if (quiet < 10_000) return 1000;
    return quiet < 300_000 ? 3000 : 10_000;
  }

  /** Fold all rows. */
  foldAll(): void {
    this.unfolded.value = new Map();
  }

  /** Return the time of the last event in ms: a lower bound of the server's present, should the clocks differ. */
  lastEventMs(): number {
    return timeMs(this.tree.lastUpdate(ROOT)) ?? 0;
  }

  /** Whether more nodes exist than are shown in a container. */
  isTruncated(key: string): boolean {
    return this.containers.get(key)?.truncated ?? false;
  }

  /** Whether a node's phase is known: a node of a group that ran and was not read looks as if it had not started. */
  isKnown(node: RunNode): boolean {
    if (node.run) return true;
    for (let above = node.parent; above; above = above.parent) {
      if (above.run && above.isContainer && !this.tree.isLoaded(above.key)) return false;
    }
    return true;
  }

  /** Return the attempts of a node, as far as they were read. */
  attemptsOf(node: RunNode): readonly AttemptTimes[] | undefined {
    return this.attempts.get(attemptKey(node.execution, node.id));
  }

  /** Return what a node spent its time on, as far as it was read. */
  operationsOf(node: RunNode): readonly Operation[] {
    return this.operations.get(attemptKey(node.execution, node.id)) ?? [];
  }

  setAttempts(node: RunNode, attempts: readonly AttemptTimes[]): void {
    const known = this.attemptsOf(node);
    if (JSON.stringify(known) === JSON.stringify(attempts)) return;
    this.attempts = new Map(this.attempts).set(attemptKey(node.execution, node.id), attempts);
    this.version.value++;
  }

  /** Read the times of all attempts in one call, where the execution is small; running ones at most every 10 s. */
  async readAttempts(): Promise<void> {
    const now = Date.now();
    if (this.attemptsVersion === this.tree.version || now - this.attemptsAt < 10_000) return;
    let count = 0;
    for (const _ of this.tree.walk()) if (++count > ATTEMPTS_NODES_MAX) return;
    this.attemptsAt = now;
    this.attemptsVersion = this.tree.version;
    const { project, domain, name } = this.execution;
    try {
      const { span } = await api(
        "GetExecutionMetrics",
        { path: { project, domain, name }, query: { depth: -1 } },
        { background: true },
      );
      const found = new Map(this.attempts);
      for (const [id, times] of attemptsFromSpans(span)) found.set(id, times);
      this.attempts = found;
      this.operations = operationsByNode(span);
      this.version.value++;
    } catch (error) {
      // The timeline shows nodes without attempts; the frame shows that calls fail.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  /** Read and unfold the containers above a node of this address key; false where it is not found. */
  async reveal(key: string): Promise<boolean> {
    for (let round = 0; round < 12; round++) {
      const found = this.tree.find(key);
      if (found) {
        this.unfoldAbove(found);
        return true;
      }
      const next = this.unread(key);
      if (next.length === 0) return false;
      await Promise.all(next.slice(0, 6).map((node) => this.load(node)));
    }
    return false;
  }

  /** Unfold all rows above a row. */
  unfoldAbove(node: RunNode): void {
    const next = new Map(this.unfolded.peek());
    let changed = false;
    for (let at = node.parent; at; at = at.parent) {
      changed ||= next.get(at.key) !== true;
      next.set(at.key, true);
    }
    if (changed) this.unfolded.value = next;
  }

  /** Return containers that may hold a key: those whose id begins it, else all unread ones. */
  private unread(key: string): RunNode[] {
    const unread: RunNode[] = [];
    for (const node of this.tree.walk()) {
      const isRead = this.tree.isLoaded(node.key) || this.failures.peek().has(node.key);
      if (node.isContainer && !isRead && (node.run || node.kind === "execution")) unread.push(node);
    }
    const likely = unread.filter((node) => key.startsWith(`${node.key}-`) || key.startsWith(`${node.key}/`));
    return likely.length > 0
      ? likely
      : unread.filter((node) => !key.includes("/") || node.key.startsWith(key.split("/")[0] ?? ""));
  }

  /** Whether no node that was read can change any more; nothing starts in an execution that has ended. */
  allTerminal(): boolean {
    for (const [key, state] of this.containers) {
      if (this.tree.isLoaded(key) && !state.settled && this.tree.hasActive(key)) return false;
    }
    return this.tree.isLoaded(ROOT);
  }

  private setFailure(key: string, error: ApiError | undefined): void {
    const next = new Map(this.failures.peek());
    if (error) next.set(key, error);
    else next.delete(key);
    this.failures.value = next;
  }

  /** Find out which nodes a container holds, and read the workflow that describes them. */
  private async prepare(node: RunNode): Promise<void> {
    const childId = node.run?.closure?.workflow_node_metadata?.executionId;
    if (node.kind === "eager") {
      this.containers.set(node.key, container(node.execution, node.id, "eager"));
      return;
    }
    if (node.kind === "execution" || childId) {
      const child = node.kind === "execution" ? node.execution : keyOf(childId);
      this.tree.setExecution(node.key, child);
      this.containers.set(node.key, container(child, "", "nodes"));
      await this.scopeOfExecution(node.key, child);
      return;
    }
    this.containers.set(node.key, container(node.execution, node.id, "nodes"));
    if (node.kind === "dynamic") await this.readDynamic(node, {});
  }

  private async scopeOfExecution(key: string, child: ExecutionKey): Promise<void> {
    const execution = await api("GetExecution", { path: pathOf(child) });
    const index = await this.closureOf(execution.closure?.workflow_id);
    this.tree.setScope(key, index.root);
  }

  /** Read the workflow that a dynamic node made, once for each phase: it exists after the task has run. */
  private async readDynamic(node: RunNode, call: Call): Promise<void> {
    if (this.dynamicTried.get(node.key) === node.phase) return;
    this.dynamicTried.set(node.key, node.phase);
    try {
      const path = { ...pathOf(node.execution), node_id: node.id };
      const reply = await api("GetDynamicNodeWorkflow", { path }, call);
      if (reply.compiled_workflow) this.tree.setScope(node.key, new ClosureIndex(reply.compiled_workflow).root);
    } catch (error) {
      // 404: the task has not made its workflow yet, or failed before.
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
  }

  private closureOf(id: Schema<"core.Identifier"> | null | undefined): Promise<ClosureIndex> {
    const path = {
      project: id?.project ?? "",
      domain: id?.domain ?? "",
      name: id?.name ?? "",
      version: id?.version ?? "",
    };
    const key = JSON.stringify(path);
    let found = this.scopes.get(key);
    if (!found) {
      found = api("GetWorkflow", { path }).then((reply) => new ClosureIndex(reply.closure?.compiled_workflow ?? {}));
      this.scopes.set(key, found);
      found.catch(() => this.scopes.delete(key));
    }
    return found;
  }

  private async readContainer(key: string, call: Call, wasTerminal = key === ROOT && this.ended): Promise<void> {
    const state = this.containers.get(key);
    if (!state || state.settled) return;
    if (state.kind === "eager") await this.readEager(key, state, call);
    else await this.readNodes(key, state, wasTerminal, call);
    if (wasTerminal) state.settled = true;
    this.publish();
  }

  private async readNodes(key: string, state: ContainerState, last: boolean, call: Call): Promise<void> {
    const now = Date.now();
    const since = timeMs(this.tree.lastUpdate(key));
    const whole = since === undefined || last || now - state.wholeAt > WHOLE_EVERY_MS;
    const filters = whole ? "" : `gte(updated_at,${new Date(since - OVERLAP_MS).toISOString()})`;
    let token = "";
    let rows = 0;
    do {
      const reply: Reply<"ListNodeExecutions"> = await api(
        "ListNodeExecutions",
        { path: pathOf(state.execution), query: queryOf(state, filters, token) },
        call,
      );
      const page = reply.node_executions ?? [];
      rows += page.length;
      if (this.tree.merge(key, page)) this.changedAt = now;
      token = reply.token ?? "";
    } while (token && rows < ROWS_MAX);
    state.truncated ||= token !== "";
    if (whole) state.wholeAt = now;
  }

  /** Read the executions that an eager task launched: flytekit labels them with the name of the task's execution. */
  private async readEager(key: string, state: ContainerState, call: Call): Promise<void> {
    const { project, domain, name } = state.execution;
    const filters = `value_in(execution_tag.key,${EAGER_LABEL})+value_in(execution_tag.value,${name})`;
    const children: ChildExecution[] = [];
    let token = "";
    do {
      const reply: Reply<"ListExecutions"> = await api(
        "ListExecutions",
        {
          path: { project, domain },
          query: {
            limit: EAGER_PAGE_ROWS,
            filters,
            "sort_by.key": "execution_created_at",
            "sort_by.direction": "ASCENDING",
            ...(token ? { token } : {}),
          },
        },
        call,
      );
      children.push(...(reply.executions ?? []).map(childOf));
      token = reply.token ?? "";
    } while (token && children.length < EAGER_ROWS_MAX);
    state.truncated = token !== "";
    this.tree.setChildExecutions(key, children);
  }

  private publish(): void {
    if (this.published === this.tree.version) return;
    this.published = this.tree.version;
    this.version.value++;
  }
}

function container(execution: ExecutionKey, parentId: string, kind: ContainerState["kind"]): ContainerState {
  return { execution, parentId, kind, settled: false, wholeAt: 0, truncated: false };
}

function queryOf(state: ContainerState, filters: string, token: string) {
  return {
    limit: PAGE_ROWS,
    ...(state.parentId ? { unique_parent_id: state.parentId } : {}),
    ...(filters ? { filters } : {}),
    ...(token ? { token } : {}),
  };
}

function childOf(execution: Schema<"admin.Execution">): ChildExecution {
  const closure = execution.closure;
  const phase = asPhase(closure?.phase);
  const startedMs = timeMs(closure?.started_at);
  const duration = durationMs(closure?.duration);
  return {
    execution: keyOf(execution.id),
    phase,
    target: closure?.workflow_id ?? undefined,
    createdMs: timeMs(closure?.created_at),
    startedMs,
    endedMs: isTerminal(phase)
      ? startedMs !== undefined && duration !== undefined
        ? startedMs + duration
        : timeMs(closure?.updated_at)
      : undefined,
  };
}

/** Return the parts of an execution's identifier. */
export function keyOf(id: Schema<"core.WorkflowExecutionIdentifier"> | null | undefined): ExecutionKey {
  return { project: id?.project ?? "", domain: id?.domain ?? "", name: id?.name ?? "" };
}

/** Return the path of an execution's calls. */
export function pathOf({ project, domain, name }: ExecutionKey) {
  return { project, domain, name };
}
