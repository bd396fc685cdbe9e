/** Fields of one line: numbers, text, dates, durations, switches and selectors. */

import { useContext } from "preact/hooks";
import type { Draft } from "../../api/drafts.ts";
import { parseDatetime, parseDuration, showDatetime, showDuration } from "../../api/instants.ts";
import type { ShapeOf } from "../../api/shapes.ts";
import { type FieldProps, FormContext, useProblems } from "./context.ts";

const TEXT_ROWS_MAX = 16;

const HINTS: Readonly<Record<string, string>> = {
  integer: "42",
  float: "1.5",
  datetime: "2026-01-31 12:30",
  duration: "1h 2m",
  binary: "bytes in base64",
};

export function textOf(draft: Draft): string {
  return draft.kind === "text" || draft.kind === "json" ? draft.text : "";
}

export function TextField({ shape, draft, onChange, path, id, describedBy, required }: FieldProps) {
  const text = textOf(draft);
  const wrong = useProblems(path).length > 0;
  const common = {
    id,
    value: text,
    "aria-describedby": describedBy,
    "aria-invalid": wrong,
    "aria-required": required,
    autocomplete: "off",
    spellcheck: false,
    placeholder: HINTS[shape.kind] ?? "",
    onInput: (event: { currentTarget: HTMLInputElement | HTMLTextAreaElement }) =>
      onChange({ kind: "text", text: event.currentTarget.value }),
  };
  if (shape.kind === "string") {
    const rows = Math.min(TEXT_ROWS_MAX, text.split("\n").length);
    return (
      <div class="field-line">
        <textarea {...common} rows={rows} class="input" />
        {draft.kind === "unset" && required && (
          <button type="button" class="button small" onClick={() => onChange({ kind: "text", text: "" })}>
            Use empty text
          </button>
        )}
      </div>
    );
  }
  const numeric = shape.kind === "integer" || shape.kind === "float";
  return (
    <>
      <div class="field-line">
        <input {...common} type="text" inputMode={numeric ? "decimal" : "text"} class="input" />
        {shape.kind === "datetime" && (
          <DatePicker text={text} onPick={(picked) => onChange({ kind: "text", text: picked })} />
        )}
      </div>
      {shape.kind === "datetime" && <InstantNote text={text} />}
      {shape.kind === "duration" && <DurationNote text={text} />}
    </>
  );
}

/** The browser's own picker, which writes into the text beside it. */
function DatePicker({ text, onPick }: { text: string; onPick: (text: string) => void }) {
  const { zone } = useContext(FormContext);
  const instant = parseDatetime(text, zone);
  const value = instant ? showDatetime(instant, zone).slice(0, 19).replace(" ", "T") : "";
  return (
    <>
      <input
        type="datetime-local"
        class="input field-picker"
        aria-label="Pick a date and time"
        step="1"
        value={value}
        onInput={(event) => {
          const picked = event.currentTarget.value;
          if (picked) onPick(picked.replace("T", " ") + (zone === "utc" ? " UTC" : ""));
        }}
      />
      <button type="button" class="button small" onClick={() => onPick(showDatetime(now(), zone))}>
        Now
      </button>
    </>
  );
}

function now(): string {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}

function InstantNote({ text }: { text: string }) {
  const { zone } = useContext(FormContext);
  const instant = parseDatetime(text, zone);
  if (!instant) return null;
  return (
    <p class="field-help">
      = <time dateTime={instant}>{showDatetime(instant, "utc")}</time>
      {zone === "local" && <span> = {showDatetime(instant, "local")}</span>}
    </p>
  );
}

function DurationNote({ text }: { text: string }) {
  const duration = parseDuration(text);
  if (!duration) return null;
  return (
    <p class="field-help">
      = {duration.replace(/s$/, " s")}, {showDuration(duration)}
    </p>
  );
}

export function BooleanField({ draft, onChange, path, id, label, describedBy }: FieldProps) {
  const wrong = useProblems(path).length > 0;
  const value = draft.kind === "boolean" ? draft.value : undefined;
  return (
    <div class="choices" role="radiogroup" aria-label={label} aria-describedby={describedBy} aria-invalid={wrong}>
      {[true, false].map((choice) => (
        <label key={String(choice)} class="choice">
          <input
            type="radio"
            name={id}
            checked={value === choice}
            onChange={() => onChange({ kind: "boolean", value: choice })}
          />
          {String(choice)}
        </label>
      ))}
    </div>
  );
}

export function EnumField({ shape, draft, onChange, path, id, describedBy }: FieldProps<ShapeOf<"enum">>) {
  const wrong = useProblems(path).length > 0;
  const text = draft.kind === "text" ? draft.text : undefined;
  const known = text === undefined || shape.values.includes(text);
  return (
    <select
      id={id}
      class="input"
      aria-describedby={describedBy}
      aria-invalid={wrong}
      value={text === undefined ? "" : `=${text}`}
      onChange={(event) => {
        const { value } = event.currentTarget;
        onChange(value === "" ? { kind: "unset" } : { kind: "text", text: value.slice(1) });
      }}
    >
      <option value="">Choose…</option>
      {!known && <option value={`=${text}`}>{text} (not in the list)</option>}
      {shape.values.map((value) => (
        <option key={value} value={`=${value}`}>
          {value === "" ? '""' : value}
        </option>
      ))}
    </select>
  );
}
