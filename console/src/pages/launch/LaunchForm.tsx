/** The launch form: pickers, inputs, options, commands. Used by the page and the dialog. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { uploadFiles } from "../../api/artifacts.ts";
import { ApiError } from "../../api/client.ts";
import { draftOfJson, looseJson, sameDraft } from "../../api/drafts.ts";
import { emptyObject, isObject, parseJson, printJson } from "../../api/json.ts";
import { inferredShape, jsonOfLiteral, type Problem } from "../../api/literals.ts";
import { shapeLabel } from "../../api/shapes.ts";
import { Guarded } from "../../frame/Guarded.tsx";
import { curlCommand, pyflyteCommand } from "../../model/commands.ts";
import {
  createRequest,
  type Form,
  type Input,
  type Options,
  refusedField,
  startDraft,
  type Target,
} from "../../model/launch.ts";
import { ROOT } from "../../root.ts";
import { zone as zoneChoice } from "../../store.ts";
import { Copy } from "../../ui/Copy.tsx";
import { FormContext } from "../../ui/fields/context.ts";
import { Field } from "../../ui/fields/Field.tsx";
import { launch } from "./data.ts";
import { OptionFields, TextOption } from "./Options.tsx";

interface Props {
  target: Target;
  inputs: Input[];
  planOptions: Options;
  /** Literals of the execution that the form was filled from. */
  given: Parameters<typeof createRequest>[3];
  /** The name of that execution; "" for none. */
  from: string;
  form: Form;
  onForm: (form: Form) => void;
  onLaunched: (name: string) => void;
  onCancel?: () => void;
}

export function LaunchForm(props: Props) {
  const { target, inputs, planOptions, given, from, form, onForm, onLaunched, onCancel } = props;
  const zone = zoneChoice.value === "utc" ? "utc" : "local";
  const outcome = useMemo(
    () => createRequest(target, inputs, form, given, zone, from),
    [target, inputs, form, given, zone, from],
  );
  const [tried, setTried] = useState(false);
  const [refused, setRefused] = useState<Problem[]>([]);
  const [failure, setFailure] = useState("");
  const [sending, setSending] = useState(false);
  // A refusal holds until the form changes.
  useEffect(() => setRefused([]), [form, target]);
  const touched = (problem: Problem): boolean =>
    tried || problem.path[0] !== "inputs" || isTouched(props, problem.path[1] ?? "");
  const problems = [...outcome.problems.filter(touched), ...refused];
  const context = useMemo(
    () => ({
      zone: zone as "utc" | "local",
      problems,
      upload: (files: File[], folder: boolean, onShare: (share: number) => void) =>
        uploadFiles(target, files, folder, onShare),
    }),
    [zone, target, JSON.stringify(problems)],
  );
  const submit = async (): Promise<void> => {
    setTried(true);
    setFailure("");
    if (!outcome.request) {
      queueMicrotask(focusProblem);
      return;
    }
    setSending(true);
    try {
      onLaunched(await launch(outcome.request));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const path = error instanceof ApiError && error.status !== 401 ? refusedField(message, inputs) : [];
      if (path.length) {
        setRefused([{ path, message }]);
        queueMicrotask(focusProblem);
      } else setFailure(message);
    } finally {
      setSending(false);
    }
  };
  return (
    <FormContext.Provider value={context}>
      <form
        class="launch-form"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <Inputs {...props} />
        <TextOption
          name="name"
          path={["name"]}
          label="Name of the execution"
          placeholder="chosen by the server"
          value={form.name}
          onInput={(name) => onForm({ ...form, name })}
        />
        <details class="launch-more" open={tried && problems.some((problem) => problem.path[0] === "options")}>
          <summary>Advanced options</summary>
          <OptionFields
            options={form.options}
            fallback={planOptions}
            onChange={(options) => onForm({ ...form, options })}
          />
        </details>
        {failure && (
          <div class="error-box" role="alert">
            <p class="text">{failure}</p>
          </div>
        )}
        <div class="launch-foot">
          <Commands {...props} request={outcome.request} />
          {tried && outcome.problems.length > 0 && (
            <span class="field-problem" role="alert">
              {outcome.problems.length === 1 ? "1 field needs" : `${outcome.problems.length} fields need`} attention
            </span>
          )}
          {onCancel && (
            <button type="button" class="button" onClick={onCancel}>
              Cancel
            </button>
          )}
          <Guarded need="run" place={target} type="submit" class="button primary" disabled={sending}>
            {sending ? "Launching…" : "Launch"}
          </Guarded>
        </div>
      </form>
    </FormContext.Provider>
  );
}

/** Move the focus to the first control that is marked as wrong. */
function focusProblem(): void {
  requestAnimationFrame(() => {
    const wrong = document.querySelector<HTMLElement>(
      '.launch-form [aria-invalid="true"], .launch-form .field-wrong input',
    );
    wrong?.focus();
  });
}

/** Return whether a value was changed, so that its problem is shown before the launch is tried. */
function isTouched({ inputs, form, given }: Props, name: string): boolean {
  const input = inputs.find((one) => one.name === name);
  const draft = form.drafts[name];
  return Boolean(input && draft && !sameDraft(draft, startDraft(input, given[name])));
}

function Inputs(props: Props) {
  const { inputs, form, onForm, given } = props;
  const [text, setText] = useState<string | null>(null);
  const open = inputs.filter((input) => !input.fixed);
  const fixed = inputs.filter((input) => input.fixed);
  const set = (name: string, draft: Form["drafts"][string]): void =>
    onForm({ ...form, drafts: { ...form.drafts, [name]: draft } });
  return (
    <section class="launch-inputs" aria-label="Inputs">
      <div class="launch-inputs-head">
        <h3>Inputs</h3>
        {open.length > 0 && (
          <button
            type="button"
            class="button small"
            aria-pressed={text !== null}
            onClick={() => setText(text === null ? allInputsText(props) : null)}
          >
            All as JSON
          </button>
        )}
      </div>
      {inputs.length === 0 && <p class="field-help">There are no inputs.</p>}
      {text !== null && <AllInputs {...props} text={text} onText={setText} onDone={() => setText(null)} />}
      {text === null &&
        open.map((input) => {
          const draft = form.drafts[input.name] ?? startDraft(input);
          const start = startDraft(input);
          const changed = input.fallback !== null && !sameDraft(draft, start);
          return (
            <Field
              key={input.name}
              shape={input.shape}
              draft={draft}
              label={input.name}
              path={["inputs", input.name]}
              required={input.required}
              description={input.description}
              onChange={(next) => set(input.name, next)}
              extra={
                changed && (
                  <button
                    type="button"
                    class="button small"
                    aria-label={`Use the default of ${input.name}`}
                    onClick={() => set(input.name, start)}
                  >
                    Default
                  </button>
                )
              }
            />
          );
        })}
      {fixed.map((input) => (
        <div key={input.name} class="field">
          <span class="field-name">
            {input.name} <span class="field-type">{input.fixed && shapeLabel(inferredShape(input.fixed))}</span>
          </span>
          <output class="field-fixed">{printJson(jsonOfLiteral(input.fixed))}</output>
          <p class="field-help">Fixed by the launch plan.</p>
        </div>
      ))}
      {Object.keys(given).some((name) => !inputs.some((input) => input.name === name)) && (
        <p class="notice">
          <span class="text">
            Inputs of the execution that this version does not have:{" "}
            {Object.keys(given)
              .filter((name) => !inputs.some((input) => input.name === name))
              .join(", ")}
          </span>
        </p>
      )}
    </section>
  );
}

/** Return the JSON text of all inputs that can be given. */
function allInputsText({ inputs, form }: Props): string {
  const members = emptyObject();
  for (const input of inputs) {
    const draft = form.drafts[input.name];
    if (!input.fixed && draft && draft.kind !== "unset") members[input.name] = looseJson(input.shape, draft, "utc");
  }
  return printJson(members, 2);
}

/** JSON of all inputs, to copy or to paste. Inputs that the text lacks stay as they are. */
function AllInputs(props: Props & { text: string; onText: (text: string) => void; onDone: () => void }) {
  const { inputs, form, onForm, text, onText, onDone } = props;
  const [problem, setProblem] = useState("");
  const apply = (): void => {
    try {
      const value = parseJson(text);
      if (!isObject(value)) throw new Error("An object with the inputs' names as keys is needed");
      const open = inputs.filter((input) => !input.fixed);
      const unknown = Object.keys(value).filter((name) => !open.some((input) => input.name === name));
      if (unknown.length) throw new Error(`No inputs of this name: ${unknown.join(", ")}`);
      const drafts = { ...form.drafts };
      for (const input of open) {
        const member = value[input.name];
        if (member !== undefined) drafts[input.name] = draftOfJson(input.shape, member);
      }
      onForm({ ...form, drafts });
      onDone();
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <div class="field">
      <textarea
        class="input input-json"
        aria-label="All inputs as JSON"
        aria-invalid={problem !== ""}
        spellcheck={false}
        rows={Math.min(24, Math.max(6, text.split("\n").length))}
        value={text}
        onInput={(event) => {
          setProblem("");
          onText(event.currentTarget.value);
        }}
      />
      {problem && (
        <p class="field-problem" role="alert">
          {problem}
        </p>
      )}
      <div class="item-foot">
        <button type="button" class="button small primary" onClick={apply}>
          Use this JSON
        </button>
        <button type="button" class="button small" onClick={onDone}>
          Back to the fields
        </button>
        <Copy text={() => text} label="Copy the inputs as JSON">
          Copy
        </Copy>
      </div>
    </div>
  );
}

function Commands({ target, inputs, request }: Props & { request: ReturnType<typeof createRequest>["request"] }) {
  if (!request) return <span class="launch-commands field-help">Complete the form to copy it as a command.</span>;
  const command = pyflyteCommand(target, inputs, request);
  return (
    <div class="launch-commands">
      <span class="muted small">Copy as</span>
      <Copy text={() => command.text} label="Copy as pyflyte run">
        pyflyte run
      </Copy>
      <Copy text={() => curlCommand(`${window.location.origin}${ROOT}`, request)} label="Copy as curl">
        curl
      </Copy>
      {command.missing.length > 0 && (
        <span class="field-help">pyflyte's command line cannot express {command.missing.join(", ")}.</span>
      )}
    </div>
  );
}
