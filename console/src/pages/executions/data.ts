/** The rows of the list: a live first page, and further pages on demand. */
import { useEffect, useRef, useState } from "preact/hooks";
import { type ApiError, api, type Schema } from "../../api/client.ts";
import { refresh, useLive } from "../../api/live.ts";
import { isTerminal, phaseLabel } from "../../model/phases.ts";
import {
  activeBeyond,
  arrange,
  endedSince,
  NOTHING_SHOWN,
  type Run,
  runOf,
  type Shown,
  takePage,
} from "../../model/runs.ts";
import type { Place } from "../../routes.ts";
import { announce } from "../../ui/announce.ts";

export const PAGE_ROWS = 100;
const BEYOND_MAX = 50;
const ACTIVE_MS = 3000;
const QUIET_MS = 15_000;
const MANY_ENDED = 3;

export interface Wanted extends Place {
  /** In the API's language. Times relative to the present are renewed by `filtersAt`. */
  filtersAt: () => string;
  /** Names the list: place, text of the filters, order. */
  key: string;
  byDuration: boolean;
}

interface FirstPage {
  runs: readonly Run[];
  beyond: readonly Run[];
  token: string;
}

export interface List extends Shown {
  at: number;
  error: ApiError | undefined;
  loaded: boolean;
  /** Whether there are further pages. */
  more: boolean;
  loadMore: () => void;
  showWaiting: () => void;
  reload: () => void;
}

type Query = { limit: number; filters?: string; token?: string } & Record<string, string | number>;

async function readPage(wanted: Wanted, query: Query, options: { signal?: AbortSignal; background?: boolean }) {
  const order = wanted.byDuration ? "duration" : "created_at";
  const reply: Schema<"admin.ExecutionList"> = await api(
    "ListExecutions",
    {
      path: { project: wanted.project, domain: wanted.domain },
      query: { ...query, "sort_by.key": order, "sort_by.direction": "DESCENDING" },
    },
    options,
  );
  return { runs: (reply.executions ?? []).map(runOf), token: reply.token ?? "" };
}

/**
 * Read the list.
 *
 * @param isBusy Whether the user has scrolled or selected, so that rows must not move.
 */
export function useRuns(wanted: Wanted, isBusy: () => boolean): List {
  const known = useRef(new Map<string, Run>());
  const [shown, setShown] = useState<Shown>(NOTHING_SHOWN);
  const rows = useRef<readonly Run[]>([]);
  rows.current = shown.rows;
  const next = useRef<string | null>(null);
  const [more, setMore] = useState(false);
  const loading = useRef(false);
  const liveKey = `ListExecutions ${wanted.key}`;

  const { data, error, at } = useLive<FirstPage>(
    liveKey,
    async (signal, _, background) => {
      const query = { limit: PAGE_ROWS, filters: wanted.filtersAt() };
      const names = wanted.byDuration ? [] : activeBeyond(rows.current, PAGE_ROWS, BEYOND_MAX);
      const named = { limit: BEYOND_MAX, filters: `value_in(execution_name,${names.join(";")})` };
      const [page, beyond] = await Promise.all([
        readPage(wanted, query, { signal, background }),
        names.length > 0 ? readPage(wanted, named, { signal, background }) : { runs: [] },
      ]);
      return { runs: page.runs, beyond: beyond.runs, token: page.token };
    },
    (page) => (page.runs.some((run) => !isTerminal(run.phase)) ? ACTIVE_MS : QUIET_MS),
  );

  useEffect(() => {
    if (!data) return;
    if (next.current === null) {
      next.current = data.token;
      setMore(data.token !== "");
    }
    tellEnded(rows.current, [...data.runs, ...data.beyond]);
    if (wanted.byDuration) {
      const others = rows.current.filter((run) => !data.runs.some((one) => one.name === run.name));
      setShown({ rows: [...data.runs, ...others], waiting: 0, gone: new Set() });
      return;
    }
    for (const run of data.beyond) known.current.set(run.name, run);
    const whole = data.token === "";
    setShown((before) => takePage(before, known.current, data.runs, { whole, hold: isBusy() }));
  }, [data]);

  const loadMore = () => {
    if (loading.current || !next.current) return;
    loading.current = true;
    readPage(wanted, { limit: PAGE_ROWS, filters: wanted.filtersAt(), token: next.current }, {})
      .then(({ runs, token }) => {
        next.current = token;
        setMore(token !== "");
        for (const run of runs) known.current.set(run.name, run);
        setShown((before) =>
          wanted.byDuration
            ? { ...before, rows: [...before.rows, ...runs] }
            : arrange(before, known.current, before.gone, true),
        );
      })
      // The next scroll asks again; a refusal would repeat itself.
      .catch((problem: ApiError) => problem.isTransient || setMore(false))
      .finally(() => {
        loading.current = false;
      });
  };
  return {
    ...shown,
    at,
    error,
    loaded: at > 0 && (shown.rows.length > 0 || data?.runs.length === 0),
    more,
    loadMore,
    showWaiting: () => setShown((before) => arrange(before, known.current, new Set(), false)),
    reload: () => refresh(liveKey),
  };
}

function tellEnded(before: readonly Run[], after: readonly Run[]): void {
  const ended = endedSince(before, after);
  if (ended.length > MANY_ENDED) announce(`${ended.length} executions ended`);
  else for (const run of ended) announce(`${run.name} ${phaseLabel(run.phase).toLowerCase()}`);
}
