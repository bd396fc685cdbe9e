/** The executions of a project and domain, live. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import {
  apiFilters,
  type FilterKey,
  filtersText,
  OLD_KEYS,
  oldFilters,
  parseFilters,
  type Token,
  withToken,
} from "../../api/filters.ts";
import { paused, refreshAll } from "../../api/live.ts";
import { user } from "../../frame/session.ts";
import { navigate, query, setQuery } from "../../location.ts";
import { isTerminal } from "../../model/phases.ts";
import type { Run } from "../../model/runs.ts";
import { links, type PageProps, type Place } from "../../routes.ts";
import { Commands, Empty, Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox, Notice } from "../../ui/ErrorBox.tsx";
import { firstCommands } from "../../ui/firstSteps.ts";
import { Icon } from "../../ui/Icon.tsx";
import { useKeys } from "../../ui/keys.ts";
import { Table } from "../../ui/Table.tsx";
import { useNow } from "../../ui/Time.tsx";
import { type Act, Actions, relaunchAddress, SelectionBar } from "./actions.tsx";
import { columnsOf } from "./columns.tsx";
import { type List, useRuns } from "./data.ts";
import { FilterBar } from "./FilterBar.tsx";
import { RunBars } from "./RunBars.tsx";
import { Views } from "./Views.tsx";
import "./style.css";

/** Rows stay where they are once the page has scrolled this far, in px. */
const SCROLLED_PX = 120;

/** Read the filters of the address; flyteconsole's keys are rewritten. */
function useTokens(): [readonly Token[], (tokens: readonly Token[]) => void] {
  const address = query.value;
  const old = useMemo(() => oldFilters(address, Date.now()), [address]);
  const text = address.get("q") ?? "";
  useEffect(() => {
    if (!OLD_KEYS.some((key) => address.has(key))) return;
    const removed = Object.fromEntries(OLD_KEYS.map((key) => [key, undefined]));
    setQuery({ ...removed, q: filtersText([...parseFilters(text), ...(old ?? [])]) });
  }, [address]);
  const tokens = useMemo(() => [...parseFilters(text), ...(old ?? [])], [text, old]);
  return [tokens, (next) => setQuery({ q: filtersText(next) }, { push: true })];
}

export default function ExecutionsPage({ project, domain }: PageProps<"executions">) {
  const place = { project, domain };
  const [tokens, setTokens] = useTokens();
  const byDuration = query.value.get("sort") === "duration";
  const me = user.value.state === "in" ? user.value.subject : undefined;
  const { problems } = apiFilters(tokens, Date.now(), me);
  const sendable = tokens.filter((token) => apiFilters([token], Date.now(), me).problems.length === 0);
  const key = `${project} ${domain} ${filtersText(sendable)} ${byDuration} ${me ?? ""}`;
  const [rows, setRows] = useState<readonly Run[]>([]);
  const field = useRef<HTMLInputElement | null>(null);
  useEffect(() => {
    document.title = `Executions of ${project} / ${domain}`;
  }, [project, domain]);
  useKeys("Executions", [{ keys: "/", text: "filter", run: () => field.current?.focus() }]);
  return (
    <>
      <div class="page-head">
        <h1>Executions</h1>
        <div class="actions">
          <Views place={place} q={filtersText(tokens)} />
        </div>
      </div>
      <FilterBar
        place={place}
        tokens={tokens}
        onChange={setTokens}
        rows={rows}
        inputRef={(element) => {
          field.current = element;
        }}
      />
      {problems.map((problem) => (
        <Notice key={problem} warning>
          This filter is left out. {problem}
        </Notice>
      ))}
      <Runs
        key={key}
        {...{ place, tokens, setTokens, byDuration }}
        listKey={key}
        filtersAt={() => apiFilters(sendable, Date.now(), me).filters}
        onRows={setRows}
      />
    </>
  );
}

interface RunsProps {
  place: Place;
  tokens: readonly Token[];
  setTokens: (tokens: readonly Token[]) => void;
  byDuration: boolean;
  listKey: string;
  filtersAt: () => string;
  onRows: (rows: readonly Run[]) => void;
}

function Runs({ place, tokens, setTokens, byDuration, listKey, filtersAt, onRows }: RunsProps) {
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const [act, setAct] = useState<Act | null>(null);
  const busy = useRef(false);
  busy.current = selected.size > 0 || act !== null;
  const box = useRef<HTMLDivElement>(null);
  const list = useRuns(
    { ...place, filtersAt, key: listKey, byDuration },
    () => busy.current || window.scrollY > SCROLLED_PX || (box.current?.contains(document.activeElement) ?? false),
  );
  useEffect(() => onRows(list.rows), [list.rows]);
  const filter = (filterKey: FilterKey, value: string, exclude: boolean) =>
    setTokens(withToken(tokens, { key: filterKey, values: [value], exclude }));
  const columns = useMemo(
    () => columnsOf({ place, filter, onAct: setAct, gone: list.gone }),
    [place.project, place.domain, tokens, list.gone],
  );
  const chosen = list.rows.filter((run) => selected.has(run.name));
  const open = (run: Run) => navigate(links.execution(place, run.name));
  const onKey = (event: KeyboardEvent, run: Run): boolean => {
    const runs = chosen.length > 0 ? chosen : [run];
    if (event.key === "t") setAct({ kind: "terminate", runs: runs.filter((one) => !isTerminal(one.phase)) });
    else if (event.key === "r") navigate(relaunchAddress(place, run));
    else return false;
    return true;
  };
  useKeys("Executions", [
    { keys: "j", text: "first row; then next row", run: () => focusRow(box.current) },
    { keys: "k", text: "first row; then previous row", run: () => focusRow(box.current) },
    { keys: "t", text: "terminate the row, or those selected", run: () => focusRow(box.current) },
    { keys: "r", text: "relaunch the row", run: () => focusRow(box.current) },
  ]);
  if (!list.loaded && list.error) return <ErrorBox error={list.error} onRetry={list.reload} />;
  if (!list.loaded) return <Skeleton lines={12} />;
  return (
    <div ref={box} class="stack">
      {list.error && <ErrorBox error={list.error} onRetry={list.reload} />}
      {list.rows.length > 0 && (
        <RunBars
          place={place}
          rows={list.rows}
          onRange={(from, to) => {
            const rest = tokens.filter((one) => one.key !== "after" && one.key !== "before");
            const time = (at: number) => [new Date(at).toISOString()];
            setTokens([
              ...rest,
              { key: "after", values: time(from), exclude: false },
              { key: "before", values: time(to), exclude: false },
            ]);
          }}
        />
      )}
      <Status list={list} byDuration={byDuration} />
      {list.rows.length === 0 ? (
        <NoRows {...{ place, tokens, setTokens }} />
      ) : (
        <Table
          label="Executions"
          columns={columns}
          rows={list.rows}
          rowKey={(run) => run.name}
          onOpen={open}
          onKey={onKey}
          selection={{ selected, onChange: setSelected }}
          sort={{ key: byDuration ? "duration" : "started", descending: true }}
          onSort={({ key }) => setQuery({ sort: key === "duration" ? "duration" : undefined }, { push: true })}
          rowClass={(run) => (list.gone.has(run.name) ? "gone" : undefined)}
          {...(list.more ? { onEnd: list.loadMore } : {})}
        />
      )}
      {selected.size > 0 && (
        <SelectionBar place={place} runs={chosen} onAct={setAct} onClear={() => setSelected(new Set())} />
      )}
      {act && (
        <Actions
          place={place}
          act={act}
          onClose={() => setAct(null)}
          onDone={() => {
            setSelected(new Set());
            refreshAll("ListExecutions");
          }}
        />
      )}
    </div>
  );
}

function focusRow(box: HTMLElement | null): void {
  box?.querySelector<HTMLElement>('tr[data-row][tabindex="0"]')?.focus();
}

/** The count of rows, how fresh they are, and a button to pause. */
function Status({ list, byDuration }: { list: List; byDuration: boolean }) {
  const now = useNow();
  const age = Math.max(0, Math.round((now - list.at) / 1000));
  const stopped = paused.value;
  return (
    <div class="list-status">
      <span class="muted small">
        {list.rows.length}
        {list.more ? "+" : ""} {list.rows.length === 1 ? "execution" : "executions"}
        {byDuration ? ", the longest first" : ""}
      </span>
      {list.waiting > 0 && (
        <button
          type="button"
          class="button small primary new-rows"
          onClick={() => {
            list.showWaiting();
            window.scrollTo({ top: 0 });
          }}
        >
          {list.waiting} new <Icon name="chevron-up" size={12} />
        </button>
      )}
      <span class="spread muted small number">
        {stopped ? "paused" : `live, ${age === 0 ? "now" : `${age} s ago`}`}
      </span>
      <button
        type="button"
        class="button quiet small icon-only"
        aria-pressed={stopped}
        onClick={() => {
          paused.value = !stopped;
        }}
      >
        <Icon name={stopped ? "play" : "pause"} label={stopped ? "Go on with live updates" : "Pause live updates"} />
      </button>
    </div>
  );
}

function NoRows({
  place,
  tokens,
  setTokens,
}: {
  place: Place;
  tokens: readonly Token[];
  setTokens: (tokens: readonly Token[]) => void;
}) {
  if (tokens.length === 0)
    return (
      <Empty title="Nothing has run here yet">
        <p>
          Run the example from a terminal. <code>make run</code> prints the first line with all paths, and pyflyte
          prints a link to the execution.
        </p>
        <Commands lines={firstCommands(place)} />
      </Empty>
    );
  return (
    <Empty title="No execution matches these filters">
      <div class="row">
        {tokens.length > 1 &&
          tokens.map((token) => (
            <button
              key={filtersText([token])}
              type="button"
              class="button"
              onClick={() => setTokens(tokens.filter((one) => one !== token))}
            >
              Without {filtersText([token])}
            </button>
          ))}
        <button type="button" class="button primary" onClick={() => setTokens([])}>
          Show all executions
        </button>
      </div>
    </Empty>
  );
}
