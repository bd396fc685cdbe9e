/** A file, folder or table in the store: download, and a preview on demand. */

import { useEffect, useState } from "preact/hooks";
import { type Head, readHead, signedUrl } from "../../api/artifacts.ts";
import { parseJson } from "../../api/json.ts";
import { literalOf } from "../../api/protobuf.ts";
import { bytesText, extensionOf, imageType, parseCsv, previewKind, textOf } from "../../model/preview.ts";
import { type Place, type TreeNode, treeOfJson, treeOfLiteral } from "../../model/valueTree.ts";
import { zone } from "../../store.ts";
import { isWebAddress } from "../../ui/Fields.tsx";
import { Json } from "../../ui/Json.tsx";
import { DataTable } from "./DataTable.tsx";
import { Markdown } from "./Markdown.tsx";
import { readStored } from "./stored.ts";
import "./style.css";

/** Bytes of a text, table or JSON that are read. */
const TEXT_BYTES_MAX = 256 * 1024;
/** Bytes of an image; a larger one is offered as a download only. */
const IMAGE_BYTES_MAX = 8 * 1024 * 1024;
const TABLE_ROWS_MAX = 100;

/** What a preview shows. */
type Shown =
  | { kind: "table"; rows: string[][]; head: string[]; note: string }
  | { kind: "image"; url: string }
  | { kind: "markdown"; text: string; note: string }
  | { kind: "json"; text: string }
  | { kind: "value"; root: TreeNode }
  | { kind: "text"; text: string; note: string }
  | { kind: "none"; note: string };

export function Preview({ place }: { place: Place }) {
  const [open, setOpen] = useState(false);
  if (!place.uri) return null;
  if (place.kind === "blob" && place.multipart) return <span class="muted small"> (a folder has no download)</span>;
  const readable = place.kind !== "schema";
  return (
    <>
      <span class="preview-actions">
        {readable && (
          <button type="button" class="button small" aria-expanded={open} onClick={() => setOpen(!open)}>
            {place.kind === "offloaded" ? (open ? "Hide the value" : "Show the value") : "Preview"}
          </button>
        )}
        {place.kind === "blob" && <Download uri={place.uri} />}
        {place.sizeBytes && <span class="muted small">{bytesText(Number(place.sizeBytes))}</span>}
      </span>
      {open && <Loaded place={place} />}
    </>
  );
}

/** A link is signed when it is pressed, so that a page with many files makes no calls. */
function Download({ uri }: { uri: string }) {
  const [problem, setProblem] = useState("");
  const download = async (): Promise<void> => {
    try {
      const link = document.createElement("a");
      link.href = isWebAddress(uri) ? uri : await signedUrl(uri);
      link.download = uri.split("/").at(-1) ?? "";
      link.rel = "noopener noreferrer";
      link.click();
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <>
      <button type="button" class="button small" onClick={() => void download()}>
        Download
      </button>
      {problem && <span class="field-problem">{problem}</span>}
    </>
  );
}

function Loaded({ place }: { place: Place }) {
  const [shown, setShown] = useState<Shown | null>(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const abort = new AbortController();
    read(place, abort.signal).then(setShown, (error: unknown) => {
      if (!abort.signal.aborted) setProblem(error instanceof Error ? error.message : String(error));
    });
    return () => abort.abort();
  }, [place.uri]);
  if (problem) {
    return (
      <div class="preview error-box" role="alert">
        <p class="text">{problem}</p>
      </div>
    );
  }
  if (!shown) return <p class="preview muted small">Reading…</p>;
  return (
    <div class="preview">
      <Content shown={shown} />
    </div>
  );
}

function Content({ shown }: { shown: Shown }) {
  switch (shown.kind) {
    case "table":
      return <DataTable head={shown.head} rows={shown.rows} note={shown.note} />;
    case "image":
      return <img src={shown.url} alt="The file's content" class="preview-image" />;
    case "markdown":
      return (
        <>
          <Markdown text={shown.text} />
          {shown.note && <p class="muted small">{shown.note}</p>}
        </>
      );
    case "json":
      return <JsonText text={shown.text} />;
    case "value":
      return <Json root={shown.root} label="value" placeView={Preview} />;
    case "text":
      return (
        <>
          <pre class="preview-text">{shown.text}</pre>
          {shown.note && <p class="muted small">{shown.note}</p>}
        </>
      );
    case "none":
      return <p class="muted small">{shown.note}</p>;
  }
}

function JsonText({ text }: { text: string }) {
  try {
    return <Json root={treeOfJson(parseJson(text))} label="file" />;
  } catch (error) {
    return (
      <>
        <p class="muted small">{error instanceof Error ? error.message : String(error)}</p>
        <pre class="preview-text">{text}</pre>
      </>
    );
  }
}

async function read(place: Place, signal: AbortSignal): Promise<Shown> {
  if (place.kind === "offloaded") return readValue(place, signal);
  if (place.kind === "dataset" || previewKind(place.uri, place.format) === "parquet") return readTable(place, signal);
  const kind = previewKind(place.uri, place.format);
  if (kind === "image") return readImage(place, signal);
  const head = await readHead(place.uri, TEXT_BYTES_MAX, signal);
  const text = textOf(head.bytes);
  if (text === undefined) return { kind: "none", note: `No text: ${sizeOf(head)} of bytes.` };
  const complete = head.total === undefined || head.total <= head.bytes.length;
  const note = complete ? "" : `The first ${bytesText(head.bytes.length)} of ${sizeOf(head)}.`;
  if (kind === "table") return csvTable(text, extensionOf(place.uri, place.format), complete, note);
  if (kind === "markdown") return { kind, text, note };
  if (kind === "json" && complete) return { kind, text };
  return { kind: "text", text, note };
}

async function readValue(place: Place, signal: AbortSignal): Promise<Shown> {
  const found = await readStored(place.uri, Number(place.sizeBytes), signal);
  if (typeof found === "string") return { kind: "none", note: found };
  return { kind: "value", root: treeOfLiteral(literalOf(found), zone.value === "utc" ? "utc" : "local") };
}

const sizeOf = (head: Head): string => bytesText(head.total ?? head.bytes.length);

function csvTable(text: string, extension: string, complete: boolean, note: string): Shown {
  const rows = parseCsv(text, extension === "tsv" ? "\t" : ",", TABLE_ROWS_MAX + 1, complete);
  const [head = [], ...body] = rows;
  const more = body.length >= TABLE_ROWS_MAX ? `The first ${TABLE_ROWS_MAX} rows.` : note;
  return { kind: "table", head, rows: body, note: more };
}

async function readImage(place: Place, signal: AbortSignal): Promise<Shown> {
  const head = await readHead(place.uri, IMAGE_BYTES_MAX, signal);
  if ((head.total ?? 0) > IMAGE_BYTES_MAX) return { kind: "none", note: `Too large to be shown: ${sizeOf(head)}.` };
  const type = imageType(place.uri, place.format) ?? "image/png";
  const bytes = head.bytes;
  // A `data:` address: the page's policy allows images of no other server, and of no blob.
  const url = await new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error("the image cannot be read"));
    reader.readAsDataURL(new Blob([bytes as BlobPart], { type }));
  });
  return { kind: "image", url };
}

async function readTable(place: Place, signal: AbortSignal): Promise<Shown> {
  if (place.format === "csv") {
    const head = await readHead(place.uri, TEXT_BYTES_MAX, signal);
    return csvTable(textOf(head.bytes) ?? "", "csv", (head.total ?? 0) <= head.bytes.length, "");
  }
  const { readParquet } = await import("./parquet.ts");
  const found = await readParquet(place.uri, place.kind === "dataset", TABLE_ROWS_MAX, signal);
  return { kind: "table", ...found };
}
