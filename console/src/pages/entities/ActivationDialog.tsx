/** Choose the active version of a launch plan, or deactivate it. */
import { useState } from "preact/hooks";
import { type LaunchPlan, type Listed, listVersions, setActive } from "../../api/entities.ts";
import { useLive } from "../../api/live.ts";
import { matches } from "../../model/find.ts";
import { scheduleOf } from "../../model/schedule.ts";
import type { Place } from "../../routes.ts";
import { toast } from "../../ui/announce.ts";
import { Dialog } from "../../ui/Dialog.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Time } from "../../ui/Time.tsx";
import { Choices } from "./Choices.tsx";
import { refreshPlans } from "./data.ts";
import { ScheduleWords } from "./ScheduleWords.tsx";
import { useAction } from "./useAction.ts";

/** Versions that the dialog offers; older ones are activated on their own page. */
const VERSIONS_OFFERED = 100;

interface Props {
  place: Place;
  name: string;
  /** The active version, null where none is. */
  active: string | null;
  /** The version that is chosen first; the newest by default. */
  chosen?: string | undefined;
  onClose: () => void;
}

/** Activate a version of a launch plan. */
export function ActivateDialog({ place, name, active, chosen, onClose }: Props) {
  const [version, setVersion] = useState(chosen);
  const [text, setText] = useState("");
  const read = useLive<Listed<LaunchPlan>>(
    `ListLaunchPlans versions ${place.project} ${place.domain} ${name}`,
    (signal, _, background) =>
      listVersions("launch_plan", place, { name, limit: VERSIONS_OFFERED }, { signal, background }),
  );
  const plans = read.data?.items ?? [];
  const wanted = version ?? plans[0]?.id?.version;
  const activate = useAction(async () => {
    if (wanted === undefined) return;
    await setActive(place, name, wanted, true);
    refreshPlans();
    toast(`Activated ${name} ${wanted}`);
    onClose();
  });
  const shown = matches(plans, text, (plan) => plan.id?.version ?? "");
  return (
    <Dialog
      title={`Activate ${name}`}
      onClose={onClose}
      footer={
        <Choices
          onClose={onClose}
          action="Activate"
          running={activate.running || wanted === undefined || wanted === active}
        />
      }
      onSubmit={() => void activate.run()}
    >
      <div class="stack">
        <p>
          At most one version is active: it runs by its schedule, and it is launched where no version is named.
          {active !== null && (
            <>
              {" "}
              Now it is <strong>{active}</strong>, which is deactivated.
            </>
          )}
        </p>
        {plans.length > 8 && (
          <input
            type="search"
            class="input"
            placeholder="Search versions"
            aria-label="Search versions"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        )}
        {read.error && <ErrorBox error={read.error} />}
        <fieldset class="version-choice">
          <legend class="hidden-text">Version</legend>
          {shown.map((plan) => (
            <VersionChoice
              key={plan.id?.version}
              plan={plan}
              active={active}
              checked={plan.id?.version === wanted}
              onChoose={setVersion}
            />
          ))}
        </fieldset>
        {activate.error && <ErrorBox error={activate.error} />}
      </div>
    </Dialog>
  );
}

interface ChoiceProps {
  plan: LaunchPlan;
  active: string | null;
  checked: boolean;
  onChoose: (version: string) => void;
}

function VersionChoice({ plan, active, checked, onChoose }: ChoiceProps) {
  const version = plan.id?.version ?? "";
  const schedule = scheduleOf(plan);
  return (
    <label class="check">
      <input type="radio" name="version" checked={checked} onChange={() => onChoose(version)} />
      <span class="mono">{version}</span>
      {version === active && <span class="chip">active</span>}
      <span class="muted small spread">
        {schedule && <ScheduleWords expression={schedule.expression} zone={schedule.zone} />}
        {schedule && ", "}
        registered <Time at={plan.closure?.created_at} />
      </span>
    </label>
  );
}

/** Deactivate the active version of a launch plan. */
export function DeactivateDialog({ place, name, active, onClose }: Props & { active: string }) {
  const deactivate = useAction(async () => {
    await setActive(place, name, active, false);
    refreshPlans();
    toast(`Deactivated ${name} ${active}`);
    onClose();
  });
  return (
    <Dialog
      title={`Deactivate ${name}`}
      onClose={onClose}
      footer={<Choices onClose={onClose} action="Deactivate" running={deactivate.running} />}
      onSubmit={() => void deactivate.run()}
    >
      <div class="stack">
        <p>
          Version <strong>{active}</strong> no longer runs by its schedule, and the launch plan can only be launched
          with a version. Running executions go on.
        </p>
        {deactivate.error && <ErrorBox error={deactivate.error} />}
      </div>
    </Dialog>
  );
}
