/** Edits one override: fields by resource type, or JSON. */

import { useState } from "preact/hooks";
import { parseDuration, showDuration } from "../../api/instants.ts";
import {
  type AttributeField,
  type AttributeKind,
  getAt,
  type Level,
  mapOf,
  pairsOf,
  setAt,
} from "../../model/attributes.ts";
import type { Pair } from "../../model/launch.ts";
import { Dialog } from "../../ui/Dialog.tsx";
import { Field } from "../../ui/Fields.tsx";
import { Check, Pairs, ThreeStates } from "../launch/Options.tsx";
import { type Scope, writeAttributes } from "./data.ts";
import { PluginRows } from "./PluginRows.tsx";

interface Props {
  kind: AttributeKind;
  scope: Scope;
  level: Level;
  value: unknown;
  onClose: () => void;
  onDone: () => void;
}

const LEVELS: Record<Level, string> = { project: "the project", domain: "the domain", workflow: "the workflow" };

export function AttributeDialog({ kind, scope, level, value, onClose, onDone }: Props) {
  const [draft, setDraft] = useState<unknown>(value ?? {});
  const [text, setText] = useState<string | null>(null);
  const [failure, setFailure] = useState("");
  const [problems, setProblems] = useState<Record<string, string>>({});
  const [busy, setBusy] = useState(false);
  const set = (field: AttributeField, next: unknown): void => setDraft((old: unknown) => setAt(old, field.path, next));
  const submit = async (): Promise<void> => {
    if (Object.values(problems).some(Boolean)) return;
    setBusy(true);
    setFailure("");
    try {
      await writeAttributes(scope, { [kind.member]: text === null ? draft : (JSON.parse(text) as unknown) });
      onDone();
      onClose();
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error));
      setBusy(false);
    }
  };
  return (
    <Dialog
      title={`${kind.label} of ${LEVELS[level]} ${scope.workflow ?? scope.domain ?? scope.project}`}
      onClose={onClose}
      onSubmit={() => void submit()}
      dismissible={false}
      footer={
        <>
          <button
            type="button"
            class="button quiet"
            aria-pressed={text !== null}
            onClick={() => setText(text === null ? JSON.stringify(draft, null, 2) : null)}
          >
            {text === null ? "As JSON" : "Discard the JSON"}
          </button>
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={busy}>
            Save
          </button>
        </>
      }
    >
      <div class="stack">
        <p class="muted">{kind.help}</p>
        {text === null ? (
          <div class="launch-options">
            {kind.fields.map((field) => (
              <Control
                key={field.path.join(".")}
                field={field}
                value={getAt(draft, field.path)}
                onChange={(next) => set(field, next)}
                problem={problems[field.path.join(".")]}
                onProblem={(problem) => setProblems((old) => ({ ...old, [field.path.join(".")]: problem }))}
              />
            ))}
          </div>
        ) : (
          <Field label={`${kind.label} as JSON`}>
            {(attributes) => (
              <textarea
                {...attributes}
                class="textarea mono"
                rows={16}
                spellcheck={false}
                value={text}
                onInput={(event) => setText(event.currentTarget.value)}
              />
            )}
          </Field>
        )}
        {failure && (
          <div class="error-box" role="alert">
            <p class="text">{failure}</p>
          </div>
        )}
      </div>
    </Dialog>
  );
}

interface ControlProps {
  field: AttributeField;
  value: unknown;
  onChange: (value: unknown) => void;
  problem?: string | undefined;
  onProblem: (problem: string) => void;
}

function Control({ field, value, onChange, problem, onProblem }: ControlProps) {
  const { label, kind, hint } = field;
  const [text, setText] = useState(() => textOf(field, value));
  switch (kind) {
    case "pairs":
      return <RowsOfPairs label={label} start={pairsOf(value)} onChange={(pairs) => onChange(mapOf(pairs))} />;
    case "envs":
      return (
        <RowsOfPairs
          label={label}
          start={(value as Pair[] | undefined) ?? []}
          onChange={(pairs) => onChange(pairs.some((pair) => pair.key) ? pairs.filter((pair) => pair.key) : undefined)}
        />
      );
    case "three":
      return (
        <ThreeStates
          unset="not set"
          value={typeof value === "boolean" ? (`${value}` as "true" | "false") : ""}
          onChange={(next) => onChange(next === "" ? undefined : next === "true")}
        />
      );
    case "check":
      return <Check label={label} checked={value === true} onChange={(next) => onChange(next || undefined)} />;
    case "choice":
      return (
        <Field label={label}>
          {(attributes) => (
            <select
              {...attributes}
              class="input"
              value={String(value ?? "UNDEFINED")}
              onChange={(event) => {
                const next = event.currentTarget.value;
                onChange(next === "UNDEFINED" ? undefined : next);
              }}
            >
              {(field.choices ?? []).map((choice) => (
                <option key={choice}>{choice}</option>
              ))}
            </select>
          )}
        </Field>
      );
    case "plugins":
      return <PluginRows value={value} onChange={onChange} />;
    default:
      return (
        <Field label={label} problem={problem}>
          {(attributes) => (
            <input
              {...attributes}
              class="input"
              autoComplete="off"
              spellcheck={false}
              placeholder={hint ?? ""}
              value={text}
              onInput={(event) => {
                const next = event.currentTarget.value;
                setText(next);
                const read = parse(field, next.trim());
                onProblem(read.problem);
                if (!read.problem) onChange(read.value);
              }}
            />
          )}
        </Field>
      );
  }
}

function RowsOfPairs({ label, start, onChange }: { label: string; start: Pair[]; onChange: (pairs: Pair[]) => void }) {
  const [pairs, setPairs] = useState(start);
  return (
    <Pairs
      name={label}
      label={label}
      pairs={pairs}
      onChange={(next) => {
        setPairs(next);
        onChange(next);
      }}
    />
  );
}

function textOf(field: AttributeField, value: unknown): string {
  if (value === undefined) return "";
  if (field.kind === "csv") return (value as string[]).join(", ");
  if (field.kind === "count") return value === 0 ? "" : String(value);
  return field.kind === "duration" ? showDuration(String(value)) : String(value);
}

function parse(field: AttributeField, text: string): { value: unknown; problem: string } {
  if (text === "") return { value: undefined, problem: "" };
  if (field.kind === "count") {
    return /^\d{1,9}$/.test(text)
      ? { value: Number(text), problem: "" }
      : { value: undefined, problem: "A whole number is needed" };
  }
  if (field.kind === "csv") {
    const values = text
      .split(",")
      .map((one) => one.trim())
      .filter(Boolean);
    return { value: values, problem: "" };
  }
  if (field.kind === "duration") {
    const value = parseDuration(text);
    return { value, problem: value === undefined ? "A duration, such as 10m, is needed" : "" };
  }
  return { value: text, problem: "" };
}
