/** The nodes of the executions in the grid, read from the newest to the oldest, a few at a time. */
import { useEffect, useState } from "preact/hooks";
import { ApiError } from "../../api/client.ts";
import type { Execution } from "../../api/entities.ts";
import type { GridCell } from "../../model/grid.ts";
import { asPhase, isTerminal } from "../../model/phases.ts";
import type { Place } from "../../routes.ts";
import { readNodes } from "../compare/data.ts";

export type Cells = ReadonlyMap<string, GridCell>;

/** Calls at once; the browser opens six connections to a server, and the page needs some itself. */
const CALLS_AT_ONCE = 3;

/** Ended executions whose nodes are kept for a return to the page; they never change. */
const KEPT_MAX = 200;
const kept = new Map<string, Cells>();

function keep(key: string, cells: Cells): void {
  kept.set(key, cells);
  const oldest = kept.size > KEPT_MAX ? kept.keys().next().value : undefined;
  if (oldest !== undefined) kept.delete(oldest);
}

/** What was read so far. */
export interface Read {
  readonly cells: ReadonlyMap<string, Cells>;
  readonly error: ApiError | undefined;
}

/**
 * Read the nodes of executions.
 *
 * @param executions The newest first. Ended ones are read once, active ones at each change of this list.
 */
export function useNodes(place: Place, executions: readonly Execution[] | undefined): Read {
  const [read, setRead] = useState<Read>({ cells: new Map(), error: undefined });
  useEffect(() => {
    if (!executions) return undefined;
    const stop = new AbortController();
    const add = (name: string, cells: Cells) =>
      setRead((before) => ({ cells: new Map(before.cells).set(name, cells), error: undefined }));
    void readAll(place, executions, stop.signal, add).catch((error: unknown) => {
      if (stop.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      setRead((before) => ({ ...before, error }));
    });
    return () => stop.abort();
  }, [place.project, place.domain, executions]);
  return read;
}

async function readAll(
  place: Place,
  executions: readonly Execution[],
  signal: AbortSignal,
  add: (name: string, cells: Cells) => void,
): Promise<void> {
  const waiting: Execution[] = [];
  for (const one of executions) {
    const known = kept.get(keyOf(place, one));
    if (known) add(one.id?.name ?? "", known);
    else waiting.push(one);
  }
  const work = async (): Promise<void> => {
    for (let one = waiting.shift(); one; one = waiting.shift()) {
      const name = one.id?.name ?? "";
      const cells = new Map(
        (await readNodes(place, name, { signal, background: true })).map((node) => [node.id, node]),
      );
      if (isTerminal(asPhase(one.closure?.phase))) keep(keyOf(place, one), cells);
      add(name, cells);
    }
  };
  await Promise.all(Array.from({ length: CALLS_AT_ONCE }, work));
}

function keyOf(place: Place, one: Execution): string {
  return `${place.project} ${place.domain} ${one.id?.name}`;
}
