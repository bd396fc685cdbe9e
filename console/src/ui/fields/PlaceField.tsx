/** A file, folder, table or schema: an address, or an upload that gives one. */

import { useContext, useEffect, useRef, useState } from "preact/hooks";
import type { Draft } from "../../api/drafts.ts";
import { type FieldProps, FormContext, type Upload, useProblems } from "./context.ts";

export function PlaceField({ shape, draft, onChange, path, id, label, describedBy, required }: FieldProps) {
  const place = draft.kind === "place" ? draft : { kind: "place" as const, uri: "", format: "" };
  const wrong = useProblems(path).length > 0;
  const { upload } = useContext(FormContext);
  const folder = shape.kind === "blob" && shape.multipart;
  const anyFormat = (shape.kind === "blob" || shape.kind === "dataset") && shape.format === "";
  return (
    <div class="place-field">
      <div class="field-line">
        <input
          id={id}
          type="text"
          class="input"
          autocomplete="off"
          spellcheck={false}
          placeholder="s3://bucket/key"
          aria-describedby={describedBy}
          aria-invalid={wrong}
          aria-required={required}
          value={place.uri}
          onInput={(event) => onChange({ ...place, uri: event.currentTarget.value })}
        />
        {anyFormat && (
          <input
            type="text"
            class="input place-format"
            placeholder="format"
            aria-label={`Format of ${label}`}
            autocomplete="off"
            spellcheck={false}
            value={place.format}
            onInput={(event) => onChange({ ...place, format: event.currentTarget.value })}
          />
        )}
      </div>
      {upload && shape.kind !== "schema" && (
        <UploadLine label={label} folder={folder} start={upload} place={place} onChange={onChange} />
      )}
    </div>
  );
}

interface LineProps {
  label: string;
  folder: boolean;
  start: (files: File[], folder: boolean, onShare: (share: number) => void) => Upload;
  place: Extract<Draft, { kind: "place" }>;
  onChange: (draft: Draft) => void;
}

type State = { kind: "idle" } | { kind: "running"; name: string; share: number } | { kind: "failed"; message: string };

function UploadLine({ label, folder, start, place, onChange }: LineProps) {
  const [state, setState] = useState<State>({ kind: "idle" });
  const running = useRef<Upload | null>(null);
  const change = useRef(onChange);
  change.current = onChange;
  useEffect(() => () => running.current?.cancel(), []);
  const begin = (files: File[]): void => {
    const name = files.length === 1 ? (files[0]?.name ?? "") : `${files.length} files`;
    setState({ kind: "running", name, share: 0 });
    const upload = start(files, folder, (share) => setState({ kind: "running", name, share }));
    running.current = upload;
    upload.done.then(
      (uri) => {
        change.current({ ...place, uri });
        setState({ kind: "idle" });
      },
      (error: unknown) => setState({ kind: "failed", message: error instanceof Error ? error.message : String(error) }),
    );
  };
  if (state.kind === "running") {
    return (
      <div class="field-line" role="status">
        <progress value={state.share} max={1} aria-label={`Upload of ${state.name}`} />
        <span class="field-help">{state.name}</span>
        <button type="button" class="button small" onClick={() => running.current?.cancel()}>
          Cancel
        </button>
      </div>
    );
  }
  return (
    <div class="field-line">
      <label class="button small upload">
        {folder ? "Upload a folder" : "Upload a file"}
        <input
          type="file"
          class="hidden-text"
          aria-label={`Upload ${label}`}
          {...(folder ? { webkitdirectory: true, multiple: true } : {})}
          onChange={(event) => {
            const files = [...(event.currentTarget.files ?? [])];
            event.currentTarget.value = "";
            if (files.length > 0) begin(files);
          }}
        />
      </label>
      {state.kind === "failed" && <span class="field-problem">{state.message}</span>}
    </div>
  );
}
