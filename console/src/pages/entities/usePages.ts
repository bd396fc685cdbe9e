import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../../api/client.ts";
import type { Listed } from "../../api/entities.ts";

/** The pages of a list that were loaded so far. */
export interface Pages<T> {
  readonly items: readonly T[] | undefined;
  readonly error: ApiError | undefined;
  /** Whether more pages exist. */
  readonly more: boolean;
  readonly loading: boolean;
  /** Load the next page, or again the one that failed. */
  next(): void;
}

/**
 * Read a list page by page: the first one at once, further ones on demand.
 *
 * @param key Names the list; another key starts anew.
 */
export function usePages<T>(key: string, read: (token: string, signal: AbortSignal) => Promise<Listed<T>>): Pages<T> {
  const [state, setState] = useState<{ key: string; items: readonly T[]; token: string | null; error?: ApiError }>();
  const [wanted, setWanted] = useState({ key, page: 1 });
  const loading = useRef(false);
  const pages = wanted.key === key ? wanted.page : 1;
  const current = state?.key === key ? state : undefined;
  const read1 = useRef(read);
  read1.current = read;
  useEffect(() => {
    const running = new AbortController();
    const before = current;
    if (before?.token === null) return undefined;
    loading.current = true;
    read1.current(before?.token ?? "", running.signal).then(
      (found) => {
        loading.current = false;
        setState({ key, items: [...(before?.items ?? []), ...found.items], token: found.token || null });
      },
      (error: unknown) => {
        if (running.signal.aborted) return;
        loading.current = false;
        if (!(error instanceof ApiError)) throw error;
        setState({ key, items: before?.items ?? [], token: before?.token ?? "", error });
      },
    );
    return () => running.abort();
  }, [key, pages]);
  return {
    items: current && (current.items.length > 0 || !current.error) ? current.items : undefined,
    error: current?.error,
    more: current !== undefined && current.token !== null,
    loading: loading.current,
    next: () => {
      if (!loading.current) setWanted({ key, page: pages + 1 });
    },
  };
}
