/** Numbers of inputs and outputs over the last runs: one plot each, read when the tab is opened. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { ApiError } from "../../api/client.ts";
import { type Execution, runsOf } from "../../api/entities.ts";
import { useLive } from "../../api/live.ts";
import { type RunValues, type Series, seriesOf, shortNumber } from "../../model/numbers.ts";
import { asPhase, isTerminal } from "../../model/phases.ts";
import { type EntityKind, links, type Place } from "../../routes.ts";
import { Empty, Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { readIo } from "../compare/data.ts";
import "./numbers.css";

/** Runs whose values are read: one call each. */
const RUNS_MAX = 25;
const CALLS_AT_ONCE = 3;
const WIDTH = 300;
const HEIGHT = 90;
const MARGIN = 6;

interface Props {
  kind: EntityKind;
  place: Place;
  name: string;
}

export function Numbers({ kind, place, name }: Props) {
  const list = useLive<Execution[]>(
    `ListExecutions numbers of ${kind} ${place.project} ${place.domain} ${name}`,
    async (signal, _, background) => runsOf(kind, place, name, { signal, background }, RUNS_MAX),
  );
  // Outputs of a run that has not ended are not there yet.
  const runs = useMemo(
    () => (list.data ?? []).filter((one) => isTerminal(asPhase(one.closure?.phase))).reverse(),
    [list.data],
  );
  const { values, error } = useValues(place, runs);
  const series = useMemo(() => seriesOf(runs.flatMap((one) => values.get(one.id?.name ?? "") ?? [])), [runs, values]);
  if (list.error || error) return <ErrorBox error={list.error ?? error} />;
  if (!list.data) return <Skeleton />;
  const isRead = values.size >= runs.length;
  return (
    <div class="stack">
      <p class="muted small" role="status">
        {isRead
          ? `The last ${runs.length} runs that have ended, the oldest on the left.`
          : `${values.size} of ${runs.length} runs read…`}
      </p>
      {isRead && series.length === 0 && (
        <Empty title="No numbers to compare">
          <p>
            A plot appears for each integer or float that at least two runs return, and for each such input that differs
            between runs. Return a number such as a loss from the workflow to see it here.
          </p>
        </Empty>
      )}
      <div class="numbers">
        {series.map((one) => (
          <Plot key={`${one.kind} ${one.name}`} series={one} count={runs.length} place={place} />
        ))}
      </div>
    </div>
  );
}

function useValues(place: Place, runs: readonly Execution[]) {
  const [values, setValues] = useState<ReadonlyMap<string, RunValues>>(new Map());
  const [error, setError] = useState<ApiError>();
  const key = runs.map((one) => one.id?.name).join();
  useEffect(() => {
    const stop = new AbortController();
    const waiting = runs.map((one) => one.id?.name ?? "").filter((name) => !values.has(name));
    const work = async (): Promise<void> => {
      for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
        const run = name;
        const { inputs, outputs } = await readIo(place, run, { signal: stop.signal, background: true });
        setValues((before) => new Map(before).set(run, { name: run, inputs, outputs }));
      }
    };
    Promise.all(Array.from({ length: CALLS_AT_ONCE }, work)).catch((reason: unknown) => {
      if (stop.signal.aborted) return;
      if (!(reason instanceof ApiError)) throw reason;
      setError(reason);
    });
    return () => stop.abort();
  }, [place.project, place.domain, key]);
  return { values, error };
}

function Plot({ series, count, place }: { series: Series; count: number; place: Place }) {
  const { name, kind, points, least, most } = series;
  const x = (at: number) => MARGIN + ((WIDTH - 2 * MARGIN) * at) / Math.max(1, count - 1);
  const y = (value: number) =>
    most === least ? HEIGHT / 2 : HEIGHT - MARGIN - ((HEIGHT - 2 * MARGIN) * (value - least)) / (most - least);
  const last = points.at(-1);
  return (
    <figure class="card number-plot">
      <figcaption>
        <strong class="mono">{name}</strong> <span class="muted">{kind}</span>
        <span class="number spread">{last && shortNumber(last.value)}</span>
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
        <polyline points={points.map((point) => `${x(point.x)},${y(point.value)}`).join(" ")} />
        {points.map((point) => (
          <circle key={point.run} cx={x(point.x)} cy={y(point.value)} r="3">
            <title>{`${point.text} in ${point.run}`}</title>
          </circle>
        ))}
      </svg>
      <p class="muted small row">
        from {shortNumber(least)} to {shortNumber(most)}
      </p>
      <details>
        <summary class="small">Values</summary>
        <table class="small">
          <thead>
            <tr>
              <th scope="col">Execution</th>
              <th scope="col">Value</th>
            </tr>
          </thead>
          <tbody>
            {[...points].reverse().map((point) => (
              <tr key={point.run}>
                <td>
                  <a class="mono" href={links.execution(place, point.run, { tab: "io" })}>
                    {point.run}
                  </a>
                </td>
                <td class="number">{point.text}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </figure>
  );
}
