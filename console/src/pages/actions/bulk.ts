/** One action on several executions. */

import { ApiError, api } from "../../api/client.ts";
import type { Place } from "../../routes.ts";

/** An execution by its name. */
export interface ExecutionId extends Place {
  name: string;
}

/** Calls of one bulk action that run at the same time. */
const CALLS_AT_ONCE = 4;

export interface Failure {
  id: ExecutionId;
  message: string;
}

/**
 * Run an action on each execution.
 *
 * @param onDone - Receives the number of finished calls after each.
 * @returns What failed; the other executions are done.
 */
export async function forEachExecution(
  ids: readonly ExecutionId[],
  action: (id: ExecutionId) => Promise<unknown>,
  onDone: (count: number) => void = () => {},
): Promise<Failure[]> {
  const failures: Failure[] = [];
  const waiting = [...ids];
  let done = 0;
  let signedOut = false;
  const worker = async (): Promise<void> => {
    for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
      try {
        if (signedOut) throw new Error("not tried: the session has ended");
        await action(id);
      } catch (error) {
        signedOut ||= error instanceof ApiError && error.status === 401;
        failures.push({ id, message: error instanceof Error ? error.message : String(error) });
      }
      done += 1;
      onDone(done);
    }
  };
  await Promise.all(Array.from({ length: CALLS_AT_ONCE }, worker));
  return failures;
}

export const terminate = (id: ExecutionId, cause: string): Promise<unknown> =>
  api("TerminateExecution", { path: { project: id.project, domain: id.domain, name: id.name }, body: { cause } });

export const setArchived = (id: ExecutionId, archived: boolean): Promise<unknown> => {
  const state = archived ? "EXECUTION_ARCHIVED" : "EXECUTION_ACTIVE";
  return api("UpdateExecution", { path: { project: id.project, domain: id.domain, name: id.name }, body: { state } });
};

/** Start a new execution that copies the finished nodes of a failed one; return its name. */
export async function recover(id: ExecutionId, name: string): Promise<string> {
  const { project, domain } = id;
  const reply = await api("RecoverExecution", { body: { id: { project, domain, name: id.name }, name } });
  return reply.id?.name ?? "";
}

/** Start the execution again with the inputs and options that it had; return the name of the new one. */
export async function relaunchAsIs(id: ExecutionId, name: string, overwriteCache: boolean): Promise<string> {
  const { project, domain } = id;
  const body = { id: { project, domain, name: id.name }, name, overwrite_cache: overwriteCache };
  const reply = await api("RelaunchExecution", { body });
  return reply.id?.name ?? "";
}
