/** Lists and maps as rows. */

import { type Draft, initialDraft } from "../../api/drafts.ts";
import type { ShapeOf } from "../../api/shapes.ts";
import { TextSwitch } from "./composite.tsx";
import { type FieldProps, useProblems } from "./context.ts";
import { Field } from "./Field.tsx";

/** Rows of one list or map; the rest is edited as JSON. */
const ROWS_MAX = 100;

function replaced<T>(items: readonly T[], index: number, item: T): T[] {
  return items.map((old, at) => (at === index ? item : old));
}

function without<T>(items: readonly T[], index: number): T[] {
  return items.filter((_, at) => at !== index);
}

function moved<T>(items: readonly T[], from: number, to: number): T[] {
  const next = [...items];
  next.splice(to, 0, ...next.splice(from, 1));
  return next;
}

function More({ count }: { count: number }) {
  if (count <= ROWS_MAX) return null;
  return <p class="field-help">{count - ROWS_MAX} more: edit them as JSON.</p>;
}

export function ListField(props: FieldProps<ShapeOf<"list">>) {
  const { shape, draft, onChange, path, label } = props;
  const items = draft.kind === "list" ? draft.items : [];
  const set = (next: Draft[]): void => onChange({ kind: "list", items: next });
  return (
    <div class="items">
      {items.slice(0, ROWS_MAX).map((item, index) => (
        // Rows have no identity but their place; fields keep no state of their own.
        <div key={index} class="item">
          <span class="item-index">{index}</span>
          <Field
            bare
            shape={shape.item}
            draft={item}
            label={`${label} ${index}`}
            path={[...path, String(index)]}
            required
            onChange={(next) => set(replaced(items, index, next))}
          />
          <div class="item-actions">
            <button
              type="button"
              class="button icon-only quiet small"
              aria-label={`Move ${label} ${index} up`}
              disabled={index === 0}
              onClick={() => set(moved(items, index, index - 1))}
            >
              ↑
            </button>
            <button
              type="button"
              class="button icon-only quiet small"
              aria-label={`Remove ${label} ${index}`}
              onClick={() => set(without(items, index))}
            >
              ×
            </button>
          </div>
        </div>
      ))}
      <More count={items.length} />
      <div class="item-foot">
        <button type="button" class="button small" onClick={() => set([...items, initialDraft(shape.item)])}>
          Add item
        </button>
        <TextSwitch {...props} />
        {items.length === 0 && <span class="field-help">empty list</span>}
      </div>
    </div>
  );
}

export function MapField(props: FieldProps<ShapeOf<"map">>) {
  const { shape, draft, onChange, path, label } = props;
  const entries = draft.kind === "map" ? draft.entries : [];
  const set = (next: Array<{ key: string; value: Draft }>): void => onChange({ kind: "map", entries: next });
  return (
    <div class="items">
      {entries.slice(0, ROWS_MAX).map(({ key, value }, index) => (
        <div key={index} class="item">
          <KeyInput
            label={`Key ${index} of ${label}`}
            path={[...path, String(index)]}
            value={key}
            onInput={(next) => set(replaced(entries, index, { key: next, value }))}
          />
          <Field
            bare
            shape={shape.value}
            draft={value}
            label={`${label} ${key}`}
            path={[...path, String(index)]}
            required
            onChange={(next) => set(replaced(entries, index, { key, value: next }))}
          />
          <div class="item-actions">
            <button
              type="button"
              class="button icon-only quiet small"
              aria-label={`Remove ${label} ${key}`}
              onClick={() => set(without(entries, index))}
            >
              ×
            </button>
          </div>
        </div>
      ))}
      <More count={entries.length} />
      <div class="item-foot">
        <button
          type="button"
          class="button small"
          onClick={() => set([...entries, { key: "", value: initialDraft(shape.value) }])}
        >
          Add entry
        </button>
        <TextSwitch {...props} />
        {entries.length === 0 && <span class="field-help">empty map</span>}
      </div>
    </div>
  );
}

function KeyInput(props: { label: string; path: string[]; value: string; onInput: (value: string) => void }) {
  const wrong = useProblems(props.path).some((message) => message.startsWith("The key "));
  return (
    <input
      type="text"
      class="input item-key"
      placeholder="key"
      autocomplete="off"
      spellcheck={false}
      aria-label={props.label}
      aria-invalid={wrong}
      value={props.value}
      onInput={(event) => props.onInput(event.currentTarget.value)}
    />
  );
}
