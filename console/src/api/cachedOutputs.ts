/** Cached outputs of tasks. The routes are this server's own; another server has no such list. */
import type { Place } from "../routes.ts";
import { ApiError, address, type CallOptions, request } from "./client.ts";

const PATH = "/api/v1/cached_outputs/{project}/{domain}";
/** Entries of one call; the server's own limit is ten times as high. */
const PAGE_ROWS = 100;

/** One entry of the cache, with the attempt that produced the outputs. */
export interface CachedOutput {
  readonly task: string;
  readonly version: string;
  readonly tag: string;
  readonly execution: string;
  readonly node: string;
  readonly attempt: number;
  readonly updated_at: string;
}

/** One page of entries; `token` is "" on the last one. */
export interface CachedPage {
  readonly entries: readonly CachedOutput[];
  readonly token: string;
}

/** Statuses by which a server says that it has no such route. */
const LACKING = new Set([404, 405, 501]);

/** Return a page of the entries of a place, or of one task; null where the server has no such route. */
export async function listCached(
  place: Place,
  task: string,
  token: string,
  options: CallOptions,
): Promise<CachedPage | null> {
  const query = { limit: PAGE_ROWS, ...(task ? { task } : {}), ...(token ? { token } : {}) };
  try {
    const url = address(PATH, { ...place }, query);
    const reply = await request("ListCachedOutputs", url, { headers: { Accept: "application/json" } }, options);
    return (await reply.json()) as CachedPage;
  } catch (error) {
    if (error instanceof ApiError && LACKING.has(error.status)) return null;
    throw error;
  }
}

/** Delete all entries of a task, or those of one cache version; return their number. */
export async function deleteCached(place: Place, task: string, version: string): Promise<number> {
  const url = address(PATH, { ...place }, { task, ...(version ? { version } : {}) });
  const init = { method: "DELETE", headers: { Accept: "application/json" } };
  for (let deleted = 0; ; ) {
    const reply = await request("DeleteCachedOutputs", url, init, {});
    const found = (await reply.json()) as { deleted: number; more: boolean };
    deleted += found.deleted;
    if (!found.more) return deleted;
  }
}
