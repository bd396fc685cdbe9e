import { useState } from "preact/hooks";
import { type BackfillSlot, backfillSchedule, type PlanId } from "../../api/schedules.ts";
import { links } from "../../routes.ts";
import { Dialog } from "../../ui/Dialog.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Time } from "../../ui/Time.tsx";
import { refreshPlans } from "./data.ts";
import { useAction } from "./useAction.ts";

/** Slots in the table; the rest is counted. */
const SLOTS_SHOWN = 200;

const OUTCOMES: Readonly<Record<BackfillSlot["outcome"], string>> = {
  exists: "has run",
  "would launch": "will be launched",
  launched: "launched",
};

/** Launch the past slots of a schedule: the slots are listed first, and launched by a second button. */
export function BackfillDialog({ plan, onClose }: { plan: PlanId; onClose: () => void }) {
  const [from, setFrom] = useState(daysAgo(1));
  const [to, setTo] = useState(daysAgo(0));
  const [force, setForce] = useState(false);
  const [slots, setSlots] = useState<readonly BackfillSlot[]>();
  const asked = { from: instant(from), to: instant(to), force };
  const list = useAction(async () => setSlots(await backfillSchedule(plan, { ...asked, dryRun: true })));
  const launch = useAction(async () => {
    setSlots(await backfillSchedule(plan, { ...asked, dryRun: false }));
    refreshPlans();
  });
  const changed = <T,>(set: (value: T) => void) => {
    return (value: T) => {
      set(value);
      setSlots(undefined);
    };
  };
  const open = slots?.filter((one) => one.outcome === "would launch").length ?? 0;
  const error = list.error ?? launch.error;
  const valid = asked.from !== "" && asked.to !== "" && asked.from < asked.to;
  return (
    <Dialog
      title={`Backfill ${plan.name}`}
      onClose={onClose}
      footer={
        <>
          <button type="button" class="button" onClick={onClose}>
            Close
          </button>
          <button type="button" class="button" disabled={!valid || list.running} onClick={() => void list.run()}>
            List the runs
          </button>
          <button
            type="button"
            class="button primary"
            disabled={open === 0 || launch.running}
            onClick={() => void launch.run()}
          >
            {launch.running ? "Launching…" : `Launch ${open || ""} ${open === 1 ? "run" : "runs"}`}
          </button>
        </>
      }
    >
      <div class="stack">
        <p>Launch the past runs of version {plan.version} that did not happen, each with its own scheduled time.</p>
        <div class="row">
          <When label="After" value={from} onChange={changed(setFrom)} />
          <When label="Up to" value={to} onChange={changed(setTo)} />
        </div>
        <label class="check">
          <input type="checkbox" checked={force} onChange={(event) => changed(setForce)(event.currentTarget.checked)} />
          Also launch again those that have run
        </label>
        {!valid && <p class="problem">“After” has to be earlier than “Up to”.</p>}
        {error && <ErrorBox error={error} />}
        {slots && <SlotTable plan={plan} slots={slots} />}
      </div>
    </Dialog>
  );
}

function When({ label, value, onChange }: { label: string; value: string; onChange: (value: string) => void }) {
  return (
    <label class="field">
      <span class="label">{label} (local time)</span>
      <input
        class="input"
        type="datetime-local"
        step={1}
        value={value}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
    </label>
  );
}

function SlotTable({ plan, slots }: { plan: PlanId; slots: readonly BackfillSlot[] }) {
  if (slots.length === 0) return <p role="status">The schedule has no run in this time.</p>;
  return (
    <div class="table-box slot-list" role="status">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">Scheduled time</th>
            <th scope="col">Execution</th>
            <th scope="col">State</th>
          </tr>
        </thead>
        <tbody>
          {slots.slice(0, SLOTS_SHOWN).map((one) => (
            <tr key={one.slot} data-row>
              <td>
                <Time at={one.slot} />
              </td>
              <td>
                {one.outcome === "would launch" ? (
                  <span class="mono muted">{one.execution}</span>
                ) : (
                  <a class="mono" href={links.execution(plan, one.execution)}>
                    {one.execution}
                  </a>
                )}
              </td>
              <td>{OUTCOMES[one.outcome] ?? one.outcome}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {slots.length > SLOTS_SHOWN && <p class="muted small more">and {slots.length - SLOTS_SHOWN} more</p>}
    </div>
  );
}

/** Return the local time some days ago in the form of a field. */
function daysAgo(days: number): string {
  const now = new Date(Date.now() - days * 86_400_000);
  return new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/** Return a field's local time as an instant in UTC, "" where it is no time. */
function instant(text: string): string {
  const found = new Date(text);
  return text && !Number.isNaN(found.getTime()) ? found.toISOString() : "";
}
