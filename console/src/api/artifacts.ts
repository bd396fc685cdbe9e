/** Files in the blob store, through signed addresses of the data proxy. */

import { ROOT } from "../root.ts";
import { ApiError, api } from "./client.ts";

export interface Place {
  project: string;
  domain: string;
}

/** Files of one folder upload. */
export const UPLOAD_FILES_MAX = 1000;

/**
 * Return a signed address on the console's own origin, where the server itself serves it: it may know itself by another
 * name than the browser does.
 */
export function ownOrigin(signed: string): string {
  const url = new URL(signed, window.location.href);
  const at = url.pathname.indexOf("/storage/");
  const own = at >= 0 && url.searchParams.has("signature") && url.searchParams.has("expires");
  return own ? `${ROOT}${url.pathname.slice(at)}${url.search}` : url.href;
}

/** Return an address at which the file can be read for an hour. */
export async function signedUrl(uri: string, signal?: AbortSignal): Promise<string> {
  const reply = await api("CreateDownloadLocation", { query: { native_url: uri } }, { signal });
  return ownOrigin(reply.signed_url ?? "");
}

export interface Head {
  bytes: Uint8Array;
  /** Size of the whole file; undefined where the store does not name it. */
  total: number | undefined;
  url: string;
}

/**
 * Read a part of a file.
 *
 * @throws ApiError where the store refuses.
 */
export async function readPart(url: string, start: number, end: number, signal?: AbortSignal): Promise<Head> {
  let response: Response;
  try {
    const headers = { Range: `bytes=${start}-${end - 1}` };
    response = await fetch(url, { headers, credentials: "same-origin", ...(signal ? { signal } : {}) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("read", 0, undefined, "the store does not answer, or does not let this page read it (CORS)");
  }
  // A file of 0 bytes has no range: its size stands in the refusal.
  const range = /\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "");
  if (response.status === 416) return { bytes: new Uint8Array(), total: Number(range?.[1] ?? 0), url };
  if (!response.ok) throw new ApiError("read", response.status, undefined, await refusalText(response));
  const bytes = await limited(response, end - start);
  const whole = response.status === 200 ? Number(response.headers.get("Content-Length") ?? bytes.length) : undefined;
  return { bytes, total: range ? Number(range[1]) : whole, url };
}

async function refusalText(response: Response): Promise<string> {
  const text = (await response.text()).slice(0, 500);
  return text.startsWith("<") || text === "" ? `the store answers ${response.status}` : text;
}

/** Read at most `size` bytes, also of a store that ignores ranges. */
async function limited(response: Response, size: number): Promise<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return new Uint8Array();
  const parts: Uint8Array[] = [];
  let length = 0;
  while (length < size) {
    const { value, done } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
  }
  await reader.cancel();
  const bytes = new Uint8Array(Math.min(length, size));
  let offset = 0;
  for (const part of parts) {
    const fitting = part.subarray(0, bytes.length - offset);
    bytes.set(fitting, offset);
    offset += fitting.length;
  }
  return bytes;
}

/** Read the first bytes of a stored file. */
export async function readHead(uri: string, size: number, signal?: AbortSignal): Promise<Head> {
  return readPart(await signedUrl(uri, signal), 0, size, signal);
}

export interface Upload {
  /** The address of the file or folder in the store. */
  done: Promise<string>;
  cancel: () => void;
}

/**
 * Upload files into a new folder of the store.
 *
 * @param folder - Whether the result is the address of the folder, not of the one file.
 * @param onShare - Receives the share of bytes that were sent, 0 to 1.
 */
export function uploadFiles(place: Place, files: File[], folder: boolean, onShare: (share: number) => void): Upload {
  const abort = new AbortController();
  const run = async (): Promise<string> => {
    if (files.length > UPLOAD_FILES_MAX)
      throw new Error(`At most ${UPLOAD_FILES_MAX} files, these are ${files.length}`);
    const root = crypto.randomUUID().replaceAll("-", "");
    const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
    let before = 0;
    let uri = "";
    for (const file of files) {
      const name = folder ? insideFolder(file) : file.name;
      const body = { project: place.project, domain: place.domain, filename: name, filename_root: root };
      const location = await api("CreateUploadLocation", { body }, { signal: abort.signal });
      const sent = before;
      await put(location.signed_url ?? "", location.headers ?? {}, file, abort.signal, (bytes) =>
        onShare((sent + bytes) / total),
      );
      before += file.size;
      const native = location.native_url ?? "";
      uri = folder ? native.slice(0, native.indexOf(root) + root.length) : native;
    }
    return uri;
  };
  return { done: run(), cancel: () => abort.abort() };
}

/** Return the path below the folder that the user chose. */
function insideFolder(file: File): string {
  const path = file.webkitRelativePath || file.name;
  return path.slice(path.indexOf("/") + 1);
}

/** Headers that a page may not set; the browser sends its own. */
const FORBIDDEN = new Set(["content-length", "host", "connection"]);

/** Send one file. `XMLHttpRequest`, because `fetch` reports no progress of an upload. */
function put(
  signed: string,
  headers: Record<string, string>,
  file: File,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", ownOrigin(signed));
    for (const [name, value] of Object.entries(headers)) {
      if (!FORBIDDEN.has(name.toLowerCase())) request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => onBytes(event.loaded);
    request.onload = () => {
      if (request.status < 300) resolve();
      else reject(new Error(`${file.name}: ${request.responseText.slice(0, 300) || request.status}`));
    };
    request.onerror = () =>
      reject(new Error(`${file.name}: the store does not answer, or refuses uploads of pages (CORS)`));
    request.onabort = () => reject(new Error("Cancelled"));
    signal.addEventListener("abort", () => request.abort());
    if (signal.aborted) request.abort();
    request.send(file);
  });
}
