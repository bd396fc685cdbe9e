/** Name and advanced options of a launch. */

import { useId } from "preact/hooks";
import type { Pair, Options as Values } from "../../model/launch.ts";
import { useProblems } from "../../ui/fields/context.ts";

interface Props {
  options: Values;
  /** Values of the launch plan, shown where nothing is set. */
  fallback: Values;
  onChange: (options: Values) => void;
}

export function OptionFields({ options, fallback, onChange }: Props) {
  const set = <K extends keyof Values>(key: K, value: Values[K]): void => onChange({ ...options, [key]: value });
  const text = (key: "serviceAccount" | "iamRole" | "rawOutput" | "maxParallelism", label: string, hint: string) => (
    <TextOption
      name={key}
      label={label}
      value={options[key]}
      placeholder={fallback[key] || hint}
      onInput={(value) => set(key, value)}
    />
  );
  return (
    <div class="launch-options">
      <Pairs name="labels" label="Labels" pairs={options.labels} onChange={(pairs) => set("labels", pairs)} />
      <Pairs
        name="annotations"
        label="Annotations"
        pairs={options.annotations}
        onChange={(pairs) => set("annotations", pairs)}
      />
      <Pairs name="envs" label="Environment variables" pairs={options.envs} onChange={(pairs) => set("envs", pairs)} />
      <TextOption
        name="tags"
        label="Tags"
        value={options.tags.join(", ")}
        placeholder="nightly, experiment-3"
        onInput={(value) =>
          set(
            "tags",
            value.split(",").map((tag, index) => (index ? tag.trimStart() : tag)),
          )
        }
      />
      {text("serviceAccount", "Kubernetes service account", "default")}
      {text("iamRole", "IAM role", "none")}
      {text("rawOutput", "Raw output location", "s3://bucket/prefix")}
      {text("maxParallelism", "Max parallelism", "of the project, else of the server")}
      <ThreeStates value={options.interruptible} onChange={(value) => set("interruptible", value)} />
      <Check
        label="Overwrite cache"
        help="Run cached tasks again and store the new results."
        checked={options.overwriteCache}
        onChange={(value) => set("overwriteCache", value)}
      />
      <Check
        label="Disable notifications"
        help="Send none, not even the launch plan's."
        checked={options.disableNotifications}
        onChange={(value) => set("disableNotifications", value)}
      />
    </div>
  );
}

interface TextProps {
  name: string;
  label: string;
  value: string;
  placeholder: string;
  onInput: (value: string) => void;
  path?: string[];
  help?: string;
}

/** A line of text with its label and problem. */
export function TextOption({ name, label, value, placeholder, onInput, path = ["options", name], help }: TextProps) {
  const id = useId();
  const problems = useProblems(path);
  return (
    <div class={`field${problems.length ? " field-wrong" : ""}`}>
      <div class="field-head">
        <label for={id}>
          <span class="field-name">{label}</span>
        </label>
      </div>
      <input
        id={id}
        type="text"
        class="input"
        autocomplete="off"
        spellcheck={false}
        aria-invalid={problems.length > 0}
        aria-describedby={`${id}-note`}
        placeholder={placeholder}
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      <div id={`${id}-note`} class="field-notes">
        {problems.map((problem) => (
          <p key={problem} class="field-problem">
            {problem}
          </p>
        ))}
        {help && <p class="field-help">{help}</p>}
      </div>
    </div>
  );
}

interface PairsProps {
  name: string;
  label: string;
  pairs: Pair[];
  onChange: (pairs: Pair[]) => void;
}

/** Rows of key and value. */
export function Pairs({ name, label, pairs, onChange }: PairsProps) {
  const problems = useProblems(["options", name]);
  const set = (index: number, pair: Pair): void => onChange(pairs.map((old, at) => (at === index ? pair : old)));
  return (
    <fieldset class={`field${problems.length ? " field-wrong" : ""}`}>
      <legend class="field-head">
        <span class="field-name">{label}</span>
      </legend>
      {pairs.map((pair, index) => (
        <div key={index} class="pair">
          <input
            type="text"
            class="input"
            placeholder="key"
            aria-label={`Key ${index + 1} of ${label}`}
            autocomplete="off"
            spellcheck={false}
            value={pair.key}
            onInput={(event) => set(index, { ...pair, key: event.currentTarget.value })}
          />
          <input
            type="text"
            class="input"
            placeholder="value"
            aria-label={`Value ${index + 1} of ${label}`}
            autocomplete="off"
            spellcheck={false}
            value={pair.value}
            onInput={(event) => set(index, { ...pair, value: event.currentTarget.value })}
          />
          <button
            type="button"
            class="button icon-only quiet small"
            aria-label={`Remove ${pair.key || `row ${index + 1}`} of ${label}`}
            onClick={() => onChange(pairs.filter((_, at) => at !== index))}
          >
            ×
          </button>
        </div>
      ))}
      {problems.map((problem) => (
        <p key={problem} class="field-problem">
          {problem}
        </p>
      ))}
      <button
        type="button"
        class="button small"
        aria-label={`Add to ${label}`}
        onClick={() => onChange([...pairs, { key: "", value: "" }])}
      >
        Add
      </button>
    </fieldset>
  );
}

/** The interruptible option: unset leaves the decision to the launch plan. */
export function ThreeStates({
  value,
  onChange,
  unset = "as the launch plan says",
}: {
  value: "" | "true" | "false";
  onChange: (value: "" | "true" | "false") => void;
  unset?: string;
}) {
  const id = useId();
  const choices = [
    ["", unset],
    ["true", "yes"],
    ["false", "no"],
  ] as const;
  return (
    <fieldset class="field">
      <legend class="field-head">
        <span class="field-name">Interruptible</span>
      </legend>
      <div class="choices">
        {choices.map(([choice, label]) => (
          <label key={choice} class="choice">
            <input type="radio" name={id} checked={value === choice} onChange={() => onChange(choice)} />
            {label}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

interface CheckProps {
  label: string;
  help?: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
}

export function Check({ label, help, checked, onChange }: CheckProps) {
  return (
    <div class="field">
      <label class="choice">
        <input type="checkbox" checked={checked} onChange={(event) => onChange(event.currentTarget.checked)} />
        <span class="field-name">{label}</span>
      </label>
      {help && <p class="field-help">{help}</p>}
    </div>
  );
}
