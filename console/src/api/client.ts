/** Calls of the REST API by operation id. Arguments and replies have the types of the OpenAPI document. */
import { ROOT } from "../root.ts";
import { OPERATIONS } from "./operations.ts";
import type { components, operations } from "./types.d.ts";

/** A message of the API, such as `Schema<"admin.Execution">`. */
export type Schema<Name extends keyof components["schemas"]> = components["schemas"][Name];

export type OperationId = keyof typeof OPERATIONS & keyof operations;

type Json<T> = T extends { content: { "application/json": infer Body } } ? Body : never;
export type Reply<Id extends OperationId> = Json<operations[Id]["responses"][200]>;
type Parameters<Id extends OperationId> = operations[Id]["parameters"];
type PathOf<Id extends OperationId> = Parameters<Id> extends { path: infer Path } ? { path: Path } : { path?: never };
type QueryOf<Id extends OperationId> = Parameters<Id> extends { query?: infer Query } ? { query?: Query } : object;
type BodyOf<Id extends OperationId> = operations[Id] extends { requestBody: infer Body }
  ? { body: Json<Body> }
  : operations[Id] extends { requestBody?: infer Body }
    ? { body?: Json<NonNullable<Body>> }
    : object;

export type Arguments<Id extends OperationId> = PathOf<Id> & QueryOf<Id> & BodyOf<Id>;

/** How a call is made. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** A poll that no user asked for: a 401 shows a banner and leaves the page. */
  background?: boolean;
  timeoutMs?: number;
  /** Statuses from 400 on that are replies of `request`, not errors. */
  statuses?: readonly number[];
}

/** A call that failed: `status` is 0 where no reply came. */
export class ApiError extends Error {
  constructor(
    readonly call: string,
    readonly status: number,
    readonly code: number | undefined,
    message: string,
  ) {
    super(message);
    this.name = "ApiError";
  }

  /** Whether the same call may succeed later: no reply, or a failure of the server. */
  get isTransient(): boolean {
    return (
      this.status === 0 || this.status === 429 || this.status === 503 || this.status === 502 || this.status === 504
    );
  }
}

/** Time for a reply in ms. */
export const TIMEOUT_MS = 30_000;

/** Receives each outcome, for the banners of the frame. */
export type Observer = (outcome: { error: ApiError | null; background: boolean }) => void;
let observe: Observer = () => {};

/** Set the function that receives the outcome of each call. */
export function onOutcome(observer: Observer): void {
  observe = observer;
}

/**
 * Call an operation.
 *
 * @param id Operation id of the OpenAPI document, such as `ListExecutions`.
 * @param args `path`, `query` and `body` as the document names them.
 * @returns The reply.
 * @throws ApiError for every status but 200, and where no reply comes.
 */
export async function api<Id extends OperationId>(
  id: Id,
  args: Arguments<Id>,
  options: CallOptions = {},
): Promise<Reply<Id>> {
  const [verb, template] = OPERATIONS[id];
  const given = args as { path?: Record<string, unknown>; query?: Record<string, unknown>; body?: unknown };
  const headers: Record<string, string> = { Accept: "application/json" };
  if (given.body !== undefined) headers["Content-Type"] = "application/json";
  const response = await request(
    id,
    address(template, given.path, given.query),
    {
      method: verb,
      headers,
      ...(given.body === undefined ? {} : { body: JSON.stringify(given.body) }),
    },
    options,
  );
  return (await parsed(id, response)) as Reply<Id>;
}

/** Return the address of an operation on this server. */
export function address(
  template: string,
  path: Record<string, unknown> = {},
  query: Record<string, unknown> = {},
): string {
  const filled = template.replace(/\{([^}]+)\}/g, (_, name: string) => encodeURIComponent(String(path[name] ?? "")));
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value])
      .filter((one) => one !== undefined && one !== null)
      .map((one) => `${encodeURIComponent(name)}=${encodeURIComponent(String(one))}`),
  );
  return `${ROOT}${filled}${pairs.length ? `?${pairs.join("&")}` : ""}`;
}

/**
 * Send a request to this server, for pages that are no operation (logs, schedules).
 *
 * @param call Name that errors show.
 * @param url Address, with the prefix of a proxy.
 * @throws ApiError for a status of 400 and more, and where no reply comes.
 */
export async function request(
  call: string,
  url: string,
  init: RequestInit,
  { signal, background = false, timeoutMs = TIMEOUT_MS, statuses = [] }: CallOptions = {},
): Promise<Response> {
  const limit = AbortSignal.timeout(timeoutMs);
  let response: Response;
  try {
    const both = signal ? AbortSignal.any([signal, limit]) : limit;
    response = await fetch(url, { credentials: "same-origin", ...init, signal: both });
  } catch (error) {
    if (signal?.aborted) throw error;
    const reason = limit.aborted ? `no reply within ${timeoutMs / 1000} s` : "the server does not answer";
    throw reported(new ApiError(call, 0, undefined, reason), background);
  }
  if (!response.ok && !statuses.includes(response.status)) throw reported(await refusal(call, response), background);
  observe({ error: null, background });
  return response;
}

function reported(error: ApiError, background: boolean): ApiError {
  observe({ error, background });
  return error;
}

async function refusal(call: string, response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  try {
    const body = JSON.parse(text) as { code?: number; message?: string; error?: string };
    return new ApiError(call, response.status, body.code, body.message ?? body.error ?? response.statusText);
  } catch {
    // Proxies answer with pages of HTML, which say no more than the status.
    const message = text.startsWith("<") || text === "" ? response.statusText : text.slice(0, 1000);
    return new ApiError(call, response.status, undefined, message);
  }
}

async function parsed(call: string, response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch {
    throw new ApiError(call, response.status, undefined, "the reply is not JSON");
  }
}
