/** The indices of a map: counts, durations, a table that draws the rows in view, and the log of the chosen index. */
import { useMemo, useState } from "preact/hooks";
import { api, request, type Schema } from "../../api/client.ts";
import { useLive } from "../../api/live.ts";
import { setQuery } from "../../location.ts";
import { plainText } from "../../model/ansi.ts";
import { lastCause } from "../../model/logText.ts";
import { histogram, type MapIndex, type MapSort, mapIndices, sortedIndices } from "../../model/maps.ts";
import { asPhase, isActive, isFailure, type Phase, phaseGroup, phaseLabel } from "../../model/phases.ts";
import { durationText } from "../../model/times.ts";
import type { RunNode } from "../../model/tree.ts";
import { PhaseIcon, Phase as PhaseText } from "../../ui/Phase.tsx";
import { Duration } from "../../ui/Time.tsx";
import { Tree, type TreeRow } from "../../ui/Tree.tsx";
import { LogOf, sourcePath } from "./AttemptLog.tsx";
import { selection } from "./selection.ts";

const ROW_PX = 28;
const BINS = 24;
/** Bytes at the end of a log that are read for the last line of an error. */
const END_BYTES = 8000;
/** Indices from which the attempt itself is read: a list of attempts leaves out what is beyond 1 MiB. */
const LISTED_MAX = 1000;
const WHOLE_EVERY_MS = 5000;

interface IndexRow extends TreeRow {
  readonly one: MapIndex;
}

export function Indices({ node, attempt }: { node: RunNode; attempt: Schema<"admin.TaskExecution"> }) {
  const resources = useResources(attempt);
  const indices = useMemo(() => mapIndices(resources ?? []), [resources]);
  const [sort, setSort] = useState<MapSort>("failed");
  const [phases, setPhases] = useState<ReadonlySet<Phase>>(new Set());
  const [text, setText] = useState("");
  const shown = useMemo(() => sortedIndices(indices, sort, phases, text), [indices, sort, phases, text]);
  const { index } = selection.value;
  const chosen = index === undefined ? undefined : indices.find((one) => one.index === index);
  const rows = shown.map(rowOf);
  const hasErrors = indices.some((one) => isFailure(one.phase) || one.phase === "RETRYABLE_FAILED");
  return (
    <div class={chosen ? "indices with-log" : "indices"}>
      <PhaseCounts indices={indices} phases={phases} setPhases={setPhases} />
      <Durations indices={indices} />
      <div class="row indices-bar">
        <input
          type="search"
          class="input"
          placeholder={hasErrors ? "Index or error" : "Index"}
          aria-label="Find an index or an error"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <label class="row tight small">
          Sort
          <select class="select" value={sort} onChange={(event) => setSort(event.currentTarget.value as MapSort)}>
            <option value="failed">failed first</option>
            <option value="index">by index</option>
            <option value="slow">slowest first</option>
          </select>
        </label>
        <span class="muted small" role="status">
          {shown.length.toLocaleString("en")} of {indices.length.toLocaleString("en")}
        </span>
      </div>
      {indices.length === 0 ? (
        <p class="panel-text muted">No index has been reported yet.</p>
      ) : (
        <Tree<IndexRow>
          rows={rows}
          label={`Indices of ${node.name}`}
          rowHeight={ROW_PX}
          columns={4}
          selected={index === undefined ? undefined : String(index)}
          header={
            <div class="tree-header" role="row">
              <span role="columnheader" class="index-number">
                Index
              </span>
              <span role="columnheader" class="index-phase">
                Phase
              </span>
              <span role="columnheader" class="index-time">
                Time
              </span>
              <span role="columnheader" class="index-error">
                Error
              </span>
            </div>
          }
          renderCells={({ one }) => (
            <>
              <span role="gridcell" class="index-number number">
                {one.index}
              </span>
              <span role="gridcell" class="index-phase">
                <PhaseText phase={one.phase} />
                {one.attempt > 0 && <span class="node-kind">attempt {one.attempt + 1}</span>}
              </span>
              <span role="gridcell" class="index-time number">
                <IndexTime one={one} />
              </span>
              <span role="gridcell" class="index-error ellipsis">
                <IndexError one={one} />
              </span>
            </>
          )}
          onSelect={({ one }) =>
            setQuery({ node: node.key, panel: "indices", index: one.index, line: null, log: null })
          }
          onToggle={() => {}}
          onActivate={() => {}}
        />
      )}
      {chosen && (
        <section class="index-log" aria-label={`Log of index ${chosen.index}`}>
          <header class="row">
            <h3>Index {chosen.index}</h3>
            <PhaseText phase={chosen.phase} />
            <button
              type="button"
              class="button quiet small spread"
              onClick={() => setQuery({ index: null, line: null, log: null })}
            >
              Close
            </button>
          </header>
          <LogOf
            key={`${chosen.index} ${chosen.attempt}`}
            logs={chosen.logs ?? []}
            ended={!isActive(chosen.phase)}
            isStarted={chosen.phase !== "NOT_STARTED"}
          />
        </section>
      )}
    </div>
  );
}

/** Return all indices of an attempt: those of the list until the attempt itself is read. */
function useResources(attempt: Schema<"admin.TaskExecution">) {
  const listed = attempt.closure?.metadata?.external_resources;
  const active = isActive(asPhase(attempt.closure?.phase));
  const { node_execution_id: node, task_id: task, retry_attempt } = attempt.id ?? {};
  const path = {
    execution_project: node?.execution_id?.project ?? "",
    execution_domain: node?.execution_id?.domain ?? "",
    execution_name: node?.execution_id?.name ?? "",
    node_id: node?.node_id ?? "",
    task_project: task?.project ?? "",
    task_domain: task?.domain ?? "",
    task_name: task?.name ?? "",
    version: task?.version ?? "",
    retry_attempt: retry_attempt ?? 0,
  };
  const key = `GetTaskExecution ${Object.values(path).join(" ")} ${active ? "active" : "ended"}`;
  const live = useLive<Schema<"admin.TaskExecution">>(
    (listed?.length ?? 0) >= LISTED_MAX ? key : null,
    (signal, _, background) => api("GetTaskExecution", { path }, { signal, background }),
    () => (active ? WHOLE_EVERY_MS : null),
  );
  return live.data?.closure?.metadata?.external_resources ?? listed;
}

function rowOf(one: MapIndex, index: number, all: readonly MapIndex[]): IndexRow {
  return {
    one,
    key: String(one.index),
    depth: 0,
    open: undefined,
    position: index + 1,
    siblings: all.length,
    label: () => `Index ${one.index}, ${phaseLabel(one.phase)}${one.error ? `, ${one.error}` : ""}`,
  };
}

function IndexTime({ one }: { one: MapIndex }) {
  if (one.durationMs !== undefined) return <>{durationText(one.durationMs)}</>;
  return one.startedMs !== undefined && isActive(one.phase) ? <Duration from={one.startedMs} /> : null;
}

/** The last line of a failed index: as reported, else the end of its log, which is read for rows in view only. */
function IndexError({ one }: { one: MapIndex }) {
  const failed = isFailure(one.phase) || one.phase === "RETRYABLE_FAILED";
  const path =
    failed && !one.error ? one.logs?.map((log) => sourcePath(log.uri)).find((found) => found !== undefined) : undefined;
  const live = useLive(path === undefined ? null : `log-end ${path}`, async (signal) => {
    const headers = { Range: `bytes=-${END_BYTES}`, Accept: "text/plain" };
    const response = await request("log", path ?? "", { headers }, { signal, background: true, statuses: [404, 416] });
    return response.ok ? lastCause(plainLines(await response.text())) : "";
  });
  const text = one.error || live.data || "";
  return <span title={text}>{text}</span>;
}

function plainLines(text: string): string {
  return text.split("\n").map(plainText).join("\n");
}

function PhaseCounts({
  indices,
  phases,
  setPhases,
}: {
  indices: readonly MapIndex[];
  phases: ReadonlySet<Phase>;
  setPhases: (phases: ReadonlySet<Phase>) => void;
}) {
  const counts = new Map<Phase, number>();
  for (const one of indices) counts.set(one.phase, (counts.get(one.phase) ?? 0) + 1);
  const toggle = (phase: Phase) => {
    const next = new Set(phases);
    if (!next.delete(phase)) next.add(phase);
    setPhases(next);
  };
  return (
    <div class="row tight index-counts" role="group" aria-label="Phases">
      {[...counts].map(([phase, count]) => (
        <button
          key={phase}
          type="button"
          class="button small"
          aria-pressed={phases.has(phase)}
          onClick={() => toggle(phase)}
        >
          <span class={`phase phase-${phaseGroup(phase)}`}>
            <PhaseIcon group={phaseGroup(phase)} size={12} />
          </span>
          {count.toLocaleString("en")} {phaseLabel(phase).toLowerCase()}
        </button>
      ))}
    </div>
  );
}

function Durations({ indices }: { indices: readonly MapIndex[] }) {
  const bins = useMemo(
    () =>
      histogram(
        indices.flatMap((one) => one.durationMs ?? []),
        BINS,
      ),
    [indices],
  );
  if (bins.length < 2) return null;
  const most = Math.max(...bins.map((bin) => bin.count));
  return (
    <figure class="histogram">
      <div class="histogram-bars" aria-hidden="true">
        {bins.map((bin) => (
          <span
            key={bin.fromMs}
            title={`${durationText(bin.fromMs)} to ${durationText(bin.toMs)}: ${bin.count}`}
            style={{ height: `${bin.count === 0 ? 0 : Math.max(6, (100 * bin.count) / most)}%` }}
          />
        ))}
      </div>
      <figcaption class="small muted">
        Durations from {durationText(bins[0]?.fromMs ?? 0)} to {durationText(bins.at(-1)?.toMs ?? 0)}
      </figcaption>
    </figure>
  );
}
