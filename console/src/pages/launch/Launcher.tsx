/** Chooses version and launch plan, reads their inputs, and keeps the draft of the form. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Schema } from "../../api/client.ts";
import type { Literal } from "../../api/literals.ts";
import { carriedForm, type Form, NO_OPTIONS, startForm } from "../../model/launch.ts";
import type { EntityKind, Place } from "../../routes.ts";
import { Picker } from "../../ui/Picker.tsx";
import {
  defaultPlan,
  type Earlier,
  type Loaded,
  loadedPlan,
  loadPlan,
  loadTask,
  readEarlier,
  readExecutions,
  readLaunchPlans,
  readVersions,
} from "./data.ts";
import { dropDraft, readDraft, writeDraft } from "./drafts.ts";
import { LaunchForm } from "./LaunchForm.tsx";
import "./style.css";

export interface LaunchProps extends Place {
  kind: EntityKind;
  name: string;
  version?: string | undefined;
  /** Name of a launch plan, for a workflow. */
  plan?: string | undefined;
  /** Name of an execution whose inputs fill the form. */
  from?: string | undefined;
  onLaunched: (name: string) => void;
  onCancel?: () => void;
  /** Reports the choices, for the address. */
  onChoice?: (choice: { version: string; plan: string; from: string }) => void;
}

interface Chosen {
  version: string;
  plan: string;
  plans: Schema<"admin.LaunchPlan">[];
  loaded: Loaded | null;
}

const NO_LITERALS: Record<string, Literal> = {};

export function Launcher(props: LaunchProps) {
  const { kind, project, domain, name } = props;
  const [from, setFrom] = useState(props.from ?? "");
  const place = useMemo(() => ({ project, domain }), [project, domain]);
  const key = `${kind}/${project}/${domain}/${name}/${from}`;
  const shownKey = useRef("");
  const [earlier, setEarlier] = useState<Earlier | null>(null);
  const [version, setVersion] = useState(props.version ?? "");
  const [plan, setPlan] = useState(props.plan ?? "");
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const [form, setForm] = useState<Form | null>(null);
  const [problem, setProblem] = useState("");

  useEffect(() => {
    const abort = new AbortController();
    const read = async (): Promise<void> => {
      const known = earlier?.name === from ? earlier : null;
      const old = known ?? (from ? await readEarlier(place, from, abort.signal) : null);
      if (abort.signal.aborted) return;
      const next = await choose(props, place, version, plan, old, abort.signal);
      if (abort.signal.aborted) return;
      setEarlier(old);
      setProblem("");
      const before = shownKey.current === key ? (chosen?.loaded ?? null) : null;
      setForm((current) => nextForm(key, current, before, next.loaded, old));
      setChosen(next);
      shownKey.current = key;
      if (next.loaded) props.onChoice?.({ version: next.version, plan: next.plan, from });
    };
    read().catch((error: unknown) => {
      if (!abort.signal.aborted) setProblem(error instanceof Error ? error.message : String(error));
    });
    return () => abort.abort();
  }, [key, version, plan]);

  const change = (next: Form): void => {
    setForm(next);
    writeDraft(key, next);
  };
  const loaded = chosen?.loaded ?? null;
  return (
    <div class="launcher">
      <div class="launch-pickers">
        <Picker
          label={kind === "workflow" ? "Workflow version" : "Version"}
          value={chosen?.version ?? version}
          source={key}
          read={(words, token, signal) => readVersions(kind, place, name, words, token, signal)}
          onPick={setVersion}
        />
        {kind === "workflow" && chosen && chosen.plans.length > 0 && (
          <Picker
            label="Launch plan"
            value={chosen.plan}
            source={`${key}/${chosen.version}`}
            read={async (words) => ({ items: planItems(chosen.plans, words), token: "" })}
            onPick={setPlan}
          />
        )}
        <Picker
          label="Filled from the execution"
          value={from}
          empty="defaults"
          source={key}
          read={(words, token, signal) => readExecutions(kind, place, name, words, token, signal)}
          onPick={setFrom}
        />
      </div>
      {earlier?.withheld && (
        <p class="notice">
          <span class="text">
            The inputs of {from} are too large to be read here: fill them in, or relaunch it as it was from its own
            page.
          </span>
        </p>
      )}
      {problem && (
        <div class="error-box" role="alert">
          <p class="text">{problem}</p>
        </div>
      )}
      {chosen && !loaded && !problem && (
        <p class="notice">
          <span class="text">This version has no launch plan. Register one, for example with pyflyte register.</span>
        </p>
      )}
      {loaded && form && (
        <LaunchForm
          key={`${loaded.target.name}/${loaded.target.version}/${shownKey.current}`}
          {...loaded}
          given={earlier?.literals ?? NO_LITERALS}
          from={earlier?.name ?? ""}
          form={form}
          onForm={change}
          onLaunched={(launched) => {
            dropDraft(key);
            props.onLaunched(launched);
          }}
          {...(props.onCancel ? { onCancel: props.onCancel } : {})}
        />
      )}
    </div>
  );
}

function planItems(plans: Schema<"admin.LaunchPlan">[], words: string) {
  return plans
    .filter((plan) => (plan.id?.name ?? "").toLowerCase().includes(words.toLowerCase()))
    .map((plan) => ({ value: plan.id?.name ?? "", note: plan.closure?.state === "ACTIVE" ? "active" : "" }));
}

/** Read the inputs of the choice: the version asked for, else that of the earlier execution, else the newest. */
async function choose(
  props: LaunchProps,
  place: Place,
  version: string,
  plan: string,
  earlier: Earlier | null,
  signal: AbortSignal,
): Promise<Chosen> {
  const { kind, name } = props;
  const again = kind === "workflow" ? earlier?.workflow.version : earlier?.launched.version;
  const newest = async (): Promise<string> =>
    (await readVersions(kind, place, name, "", "", signal)).items[0]?.value ?? "";
  const found = version || again || (await newest());
  if (!found) throw new Error(`${name} has no version in ${place.project}, ${place.domain}`);
  if (kind !== "workflow") {
    const load = kind === "task" ? loadTask : loadPlan;
    return { version: found, plan: "", plans: [], loaded: await load(place, name, found, signal) };
  }
  const plans = await readLaunchPlans(place, name, found, signal);
  const earlierPlan = earlier?.launched.kind === "launch_plan" ? earlier.launched.name : "";
  const wanted = [plan, earlierPlan, defaultPlan(plans, name)].find((one) =>
    plans.some((other) => other.id?.name === one),
  );
  const used = plans.find((one) => one.id?.name === wanted);
  return { version: found, plan: wanted ?? "", plans, loaded: used ? loadedPlan(used) : null };
}

/** Return the form of a choice: the kept draft at first, what was typed after a change of the version. */
function nextForm(
  key: string,
  current: Form | null,
  before: Loaded | null,
  next: Loaded | null,
  earlier: Earlier | null,
): Form | null {
  if (!next) return current;
  if (current && before) return carriedForm(current, before.inputs, next.inputs);
  const fresh = startForm(next.inputs, earlier?.literals ?? {}, earlier?.options ?? NO_OPTIONS);
  const draft = readDraft(key);
  return draft ? { ...draft, drafts: { ...fresh.drafts, ...fitting(draft, fresh) } } : fresh;
}

/** Keep drafts of inputs that still exist. */
function fitting(draft: Form, fresh: Form): Form["drafts"] {
  return Object.fromEntries(Object.entries(draft.drafts).filter(([name]) => name in fresh.drafts));
}
