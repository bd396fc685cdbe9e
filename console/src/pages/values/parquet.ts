/** The first rows of a Parquet file, read by ranges. */

import { parquetMetadataAsync, parquetReadObjects, parquetSchema } from "hyparquet";
import { type Head, readPart, signedUrl } from "../../api/artifacts.ts";
import { ApiError } from "../../api/client.ts";

/** Bytes of all ranges that one preview reads. */
const BYTES_MAX = 64 * 1024 * 1024;
/** Names of the first file in the folder of a dataset, as flytekit, pandas and Spark-like writers choose them. */
const FIRST_FILES = ["/00000", "", "/0.parquet"];

export interface Rows {
  head: string[];
  rows: string[][];
  note: string;
}

/**
 * Read the first rows.
 *
 * @param folder - Whether the address is that of a dataset, which flytekit stores as a folder with the file `00000`.
 */
export async function readParquet(uri: string, folder: boolean, rowsMax: number, signal: AbortSignal): Promise<Rows> {
  const { url, total } = await open(uri, folder ? FIRST_FILES : [""], signal);
  let read = 0;
  const file = {
    byteLength: total,
    slice: async (start: number, end = total): Promise<ArrayBuffer> => {
      read += end - start;
      if (read > BYTES_MAX) throw new Error("The first rows are too large to be shown.");
      const { bytes } = await readPart(url, start, end, signal);
      return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
    },
  };
  const metadata = await parquetMetadataAsync(file);
  const count = Number(metadata.num_rows);
  const head = parquetSchema(metadata).children.map((column) => column.element.name);
  const objects = await parquetReadObjects({ file, metadata, rowStart: 0, rowEnd: Math.min(rowsMax, count) });
  const rows = objects.map((row) => head.map((column) => cellText(row[column])));
  const note = count > rowsMax ? `The first ${rowsMax} of ${count.toLocaleString("en")} rows.` : `${count} rows.`;
  return { head, rows, note };
}

async function open(uri: string, names: string[], signal: AbortSignal): Promise<{ url: string; total: number }> {
  let failure: unknown;
  for (const name of names) {
    try {
      const url = await signedUrl(uri.replace(/\/$/, "") + name, signal);
      const head: Head = await readPart(url, 0, 4, signal);
      if (head.total !== undefined) return { url, total: head.total };
    } catch (error) {
      // A folder has no object of its own name: the next name is tried. Other failures are final.
      if (!(error instanceof ApiError) || error.status < 400 || error.status >= 500) throw error;
      failure ??= error;
    }
  }
  throw failure ?? new Error("The store does not name the size of the file.");
}

function cellText(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (typeof value === "object")
    return JSON.stringify(value, (_, part) => (typeof part === "bigint" ? String(part) : part));
  return String(value);
}
