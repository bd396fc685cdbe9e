/** Dataclasses, unions, JSON text, and values that are kept as they came. */

import { useContext } from "preact/hooks";
import { draftOfJson, initialDraft, looseJson, UNSET } from "../../api/drafts.ts";
import { parseJson, printJson } from "../../api/json.ts";
import { jsonOfLiteral } from "../../api/literals.ts";
import type { ObjectField as ObjectMember, Shape, ShapeOf } from "../../api/shapes.ts";
import { type FieldProps, FormContext, useProblems } from "./context.ts";
import { Field } from "./Field.tsx";
import { textOf } from "./simple.tsx";

const JSON_ROWS_MAX = 24;
const KEPT_CHARACTERS_MAX = 2000;

/** The button that shows a value as JSON text. */
export function TextSwitch({ shape, draft, onChange, label }: FieldProps) {
  const { zone } = useContext(FormContext);
  return (
    <button
      type="button"
      class="button small"
      aria-label={`Edit ${label} as JSON`}
      onClick={() => onChange({ kind: "json", text: printJson(looseJson(shape, draft, zone), 2) })}
    >
      Edit as JSON
    </button>
  );
}

/** JSON text of any shape. The fields come back where the text is JSON of that shape. */
export function JsonField({ shape, draft, onChange, path, id, label, describedBy, required }: FieldProps) {
  const text = textOf(draft);
  const wrong = useProblems(path, true).length > 0;
  const rows = Math.min(JSON_ROWS_MAX, Math.max(3, text.split("\n").length));
  const fields = fieldsOfText(shape, text);
  return (
    <>
      <textarea
        id={id}
        class="input input-json"
        rows={rows}
        spellcheck={false}
        autocomplete="off"
        placeholder={shape.kind === "any" ? '{"key": 1}' : "JSON"}
        aria-describedby={describedBy}
        aria-invalid={wrong}
        aria-required={required}
        value={text}
        onInput={(event) => onChange({ kind: "json", text: event.currentTarget.value })}
      />
      {shape.kind !== "any" && (
        <div class="item-foot">
          <button
            type="button"
            class="button small"
            aria-label={`Edit ${label} in fields`}
            disabled={!fields}
            onClick={() => fields && onChange(fields)}
          >
            Edit in fields
          </button>
          {!fields && text.trim() !== "" && <span class="field-help">The text does not have the type's form.</span>}
        </div>
      )}
    </>
  );
}

function fieldsOfText(shape: Shape, text: string) {
  if (text.trim() === "") return initialDraft(shape);
  try {
    const draft = draftOfJson(shape, parseJson(text));
    return draft.kind === "json" ? undefined : draft;
  } catch {
    // The report of the form shows the syntax error at this field.
    return undefined;
  }
}

/** A literal that has no fields: an offloaded value, an error, msgpack that JSON cannot express. */
export function KeptField({ shape, draft, onChange, id }: FieldProps) {
  if (draft.kind !== "literal") return null;
  const offloaded = draft.literal.offloaded_metadata;
  const text = printJson(jsonOfLiteral(draft.literal), 2);
  return (
    <div class="field-line">
      <output id={id} class="field-fixed">
        {offloaded && <span>Stored at </span>}
        {text.length > KEPT_CHARACTERS_MAX ? `${text.slice(0, KEPT_CHARACTERS_MAX)}…` : text}
      </output>
      <button type="button" class="button small" onClick={() => onChange(initialDraft(shape))}>
        Replace
      </button>
    </div>
  );
}

export function ObjectField(props: FieldProps<ShapeOf<"object">>) {
  const { shape, draft, onChange, path } = props;
  const found = draft.kind === "object" ? draft : { kind: "object" as const, fields: {}, rest: "{}" };
  return (
    <div class="members">
      {shape.fields.map((field) => (
        <MemberField
          key={field.name}
          field={field}
          path={[...path, field.name]}
          draft={found.fields[field.name] ?? UNSET}
          onChange={(next) => onChange({ ...found, fields: { ...found.fields, [field.name]: next } })}
        />
      ))}
      {found.rest !== "{}" && (
        <p class="field-help">
          Not in the schema, kept: <code>{found.rest}</code>
        </p>
      )}
      <div class="item-foot">
        <TextSwitch {...props} />
      </div>
    </div>
  );
}

interface MemberProps {
  field: ObjectMember;
  draft: FieldProps["draft"];
  onChange: FieldProps["onChange"];
  path: string[];
}

/** A member of a dataclass. One with a default starts without a value, so that the default holds. */
function MemberField({ field, draft, onChange, path }: MemberProps) {
  const { shape, name, required, description } = field;
  const composite = ["list", "map", "object", "union", "none"].includes(shape.kind);
  const shown = draft.kind === "unset" && required ? initialDraft(shape) : draft;
  if (shown.kind === "unset" && composite) {
    return (
      <div class="field member-unset">
        <span class="field-name">{name}</span>
        <span class="field-help">{fallbackText(field)}</span>
        <button type="button" class="button small" onClick={() => onChange(initialDraft(shape))}>
          Set {name}
        </button>
      </div>
    );
  }
  const clear = !required && draft.kind !== "unset" && (
    <button type="button" class="button small" aria-label={`Leave out ${name}`} onClick={() => onChange(UNSET)}>
      Leave out
    </button>
  );
  const note = [description, !required && draft.kind === "unset" ? fallbackText(field) : ""]
    .filter(Boolean)
    .join(" · ");
  return (
    <Field
      shape={shape}
      draft={shown}
      onChange={onChange}
      path={path}
      label={name}
      required={required}
      description={note}
      extra={clear}
    />
  );
}

function fallbackText(field: ObjectMember): string {
  return field.fallback === undefined ? "default" : `default ${JSON.stringify(field.fallback)}`;
}

export function UnionField({ shape, draft, onChange, path, label, required }: FieldProps<ShapeOf<"union">>) {
  const chosen = draft.kind === "union" ? draft.variant : -1;
  const variant = shape.variants[chosen];
  return (
    <div class="union">
      <select
        class="input union-type"
        aria-label={`Type of ${label}`}
        value={String(chosen)}
        onChange={(event) => {
          const index = Number(event.currentTarget.value);
          const next = shape.variants[index];
          if (next) onChange({ kind: "union", variant: index, value: initialDraft(next.shape) });
        }}
      >
        {chosen < 0 && <option value="-1">Choose a type…</option>}
        {shape.variants.map((one, index) => (
          <option key={one.label} value={String(index)}>
            {one.label}
          </option>
        ))}
      </select>
      {variant && draft.kind === "union" && variant.shape.kind !== "none" && (
        <Field
          bare
          shape={variant.shape}
          draft={draft.value}
          label={label}
          path={path}
          required={required}
          onChange={(value) => onChange({ kind: "union", variant: chosen, value })}
        />
      )}
    </div>
  );
}
