/** Values that the server keeps as an object of their own, and leaves out of its replies. */
import { ownOrigin, readHead, readPart } from "../../api/artifacts.ts";
import { bytesText } from "../../model/preview.ts";

/** Bytes of a stored value that are read: it is decoded whole, in the browser's memory. */
export const STORED_BYTES_MAX = 8 * 1024 * 1024;

/**
 * Read a stored value.
 *
 * @param uri Its address in the store, or a signed one.
 * @param sizeBytes Its size where it is known, else 0.
 * @returns Its bytes, or why it is not shown.
 */
export async function readStored(uri: string, sizeBytes: number, signal: AbortSignal): Promise<Uint8Array | string> {
  if (sizeBytes > STORED_BYTES_MAX) return tooLarge(sizeBytes, uri);
  const head = /^https?:/.test(uri)
    ? await readPart(ownOrigin(uri), 0, STORED_BYTES_MAX, signal)
    : await readHead(uri, STORED_BYTES_MAX, signal);
  if ((head.total ?? 0) > STORED_BYTES_MAX) return tooLarge(head.total ?? 0, uri);
  return head.bytes;
}

function tooLarge(sizeBytes: number, uri: string): string {
  const limit = bytesText(STORED_BYTES_MAX);
  return `The value has ${bytesText(sizeBytes)}. The console shows values up to ${limit}; read this one from ${uri.split("?")[0]}`;
}
