/** How a stored file is shown: its kind by name, text or not by its bytes, tables of CSV. */

export type PreviewKind = "table" | "parquet" | "image" | "markdown" | "json" | "text";

const BY_EXTENSION: Readonly<Record<string, PreviewKind>> = {
  csv: "table",
  tsv: "table",
  parquet: "parquet",
  png: "image",
  jpg: "image",
  jpeg: "image",
  gif: "image",
  webp: "image",
  bmp: "image",
  svg: "image",
  md: "markdown",
  markdown: "markdown",
  json: "json",
};

const IMAGE_TYPES: Readonly<Record<string, string>> = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  bmp: "image/bmp",
  svg: "image/svg+xml",
};

/** Return the lower-case extension of a file: that of its name, else its declared format. */
export function extensionOf(uri: string, format: string): string {
  const name = uri.split(/[?#]/)[0]?.split("/").at(-1) ?? "";
  const found = /\.([a-z0-9]{1,8})$/i.exec(name)?.[1] ?? format;
  return found.toLowerCase();
}

/** Return how to show a file; text is tried for what is unknown. */
export function previewKind(uri: string, format: string): PreviewKind {
  return BY_EXTENSION[extensionOf(uri, format)] ?? "text";
}

export function imageType(uri: string, format: string): string | undefined {
  return IMAGE_TYPES[extensionOf(uri, format)];
}

const CONTROL_SHARE_MAX = 0.02;

/** Decode UTF-8; undefined where the bytes are no text. A character that the limit cut is left out. */
export function textOf(bytes: Uint8Array): string | undefined {
  const text = new TextDecoder("utf-8").decode(bytes, { stream: true });
  let strange = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (code === 0) return undefined;
    if ((code < 32 && code !== 9 && code !== 10 && code !== 13 && code !== 27) || code === 0xfffd) strange += 1;
  }
  return strange > text.length * CONTROL_SHARE_MAX ? undefined : text;
}

/**
 * Split CSV into rows (RFC 4180: quotes double inside quotes, line breaks may be quoted).
 *
 * @param complete - False where the text is the head of a larger file: its last row is cut and is left out.
 */
export function parseCsv(text: string, separator: string, rowsMax: number, complete: boolean): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = "";
  let quoted = false;
  let started = false;
  const endRow = (): void => {
    row.push(cell);
    rows.push(row);
    row = [];
    cell = "";
    started = false;
  };
  for (let at = text.charCodeAt(0) === 0xfeff ? 1 : 0; at < text.length && rows.length < rowsMax; at += 1) {
    const character = text[at] ?? "";
    if (quoted) {
      if (character === '"' && text[at + 1] === '"') {
        cell += '"';
        at += 1;
      } else if (character === '"') quoted = false;
      else cell += character;
    } else if (character === '"' && cell === "") {
      quoted = true;
      started = true;
    } else if (character === separator) {
      row.push(cell);
      cell = "";
      started = true;
    } else if (character === "\n" || character === "\r") {
      if (character === "\r" && text[at + 1] === "\n") at += 1;
      if (started || cell !== "") endRow();
    } else {
      cell += character;
      started = true;
    }
  }
  if (complete && rows.length < rowsMax && (started || cell !== "")) endRow();
  return rows;
}

export function bytesText(size: number): string {
  if (size < 1000) return `${size} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = size;
  let unit = "B";
  for (const next of units) {
    if (value < 1000) break;
    value /= 1000;
    unit = next;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}
