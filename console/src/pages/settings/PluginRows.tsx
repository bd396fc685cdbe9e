/** Rows of plugin overrides. */

import { useState } from "preact/hooks";
import type { Schema } from "../../api/client.ts";

type Override = Schema<"admin.PluginOverride">;

export function PluginRows({ value, onChange }: { value: unknown; onChange: (value: unknown) => void }) {
  const [rows, setRows] = useState<Override[]>(() => (value as Override[] | undefined) ?? []);
  const change = (next: Override[]): void => {
    setRows(next);
    const kept = next.filter((row) => row.task_type);
    onChange(kept.length ? kept : undefined);
  };
  const set = (index: number, row: Override): void => change(rows.map((old, at) => (at === index ? row : old)));
  return (
    <fieldset class="field">
      <legend class="field-head">
        <span class="field-name">Overrides</span>
      </legend>
      {rows.map((row, index) => (
        <div key={index} class="stack">
          <div class="pair">
            <input
              class="input"
              aria-label={`Task type of override ${index + 1}`}
              placeholder="task type, such as container"
              autoComplete="off"
              value={row.task_type ?? ""}
              onInput={(event) => set(index, { ...row, task_type: event.currentTarget.value.trim() })}
            />
            <input
              class="input"
              aria-label={`Plugins of override ${index + 1}`}
              placeholder="plugin ids, with commas"
              autoComplete="off"
              defaultValue={(row.plugin_id ?? []).join(", ")}
              onInput={(event) => {
                const ids = event.currentTarget.value.split(",").map((id) => id.trim());
                set(index, { ...row, plugin_id: ids.filter(Boolean) });
              }}
            />
            <button
              type="button"
              class="button icon-only quiet small"
              aria-label={`Remove override ${index + 1}`}
              onClick={() => change(rows.filter((_, at) => at !== index))}
            >
              ×
            </button>
          </div>
          <select
            class="input"
            aria-label={`If no plugin of override ${index + 1} is there`}
            value={row.missing_plugin_behavior ?? "FAIL"}
            onChange={(event) =>
              set(index, { ...row, missing_plugin_behavior: event.currentTarget.value as "FAIL" | "USE_DEFAULT" })
            }
          >
            <option value="FAIL">none there: fail</option>
            <option value="USE_DEFAULT">none there: use the default plugin</option>
          </select>
        </div>
      ))}
      <button
        type="button"
        class="button small"
        onClick={() => change([...rows, { task_type: "", plugin_id: [], missing_plugin_behavior: "FAIL" }])}
      >
        Add an override
      </button>
    </fieldset>
  );
}
