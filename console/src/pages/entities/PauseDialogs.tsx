/** Pause a schedule with a reason, and resume it. */
import { useState } from "preact/hooks";
import { type PlanId, pauseSchedule, resumeSchedule } from "../../api/schedules.ts";
import { toast } from "../../ui/announce.ts";
import { Dialog } from "../../ui/Dialog.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Check } from "../../ui/Fields.tsx";
import { Choices } from "./Choices.tsx";
import { refreshPlans } from "./data.ts";
import { useAction } from "./useAction.ts";

/** Characters of a reason, the server's limit. */
const REASON_LENGTH_MAX = 1000;

interface DialogProps {
  plan: PlanId;
  onClose: () => void;
}

export function PauseDialog({ plan, onClose }: DialogProps) {
  const [reason, setReason] = useState("");
  const pause = useAction(async () => {
    await pauseSchedule(plan, reason.trim());
    refreshPlans();
    toast(`Paused ${plan.name}`);
    onClose();
  });
  return (
    <Dialog
      title={`Pause ${plan.name}`}
      onClose={onClose}
      footer={<Choices onClose={onClose} action="Pause" running={pause.running} />}
      onSubmit={() => void pause.run()}
    >
      <div class="stack">
        <p>
          The schedule launches nothing until it is resumed. The launch plan stays active; running executions go on.
        </p>
        <label class="field">
          <span class="label">Reason</span>
          <input
            class="input"
            value={reason}
            maxLength={REASON_LENGTH_MAX}
            placeholder="such as: the source is being moved"
            onInput={(event) => setReason(event.currentTarget.value)}
          />
        </label>
        {pause.error && <ErrorBox error={pause.error} />}
      </div>
    </Dialog>
  );
}

export function ResumeDialog({ plan, onClose }: DialogProps) {
  const [catchUp, setCatchUp] = useState(false);
  const resume = useAction(async () => {
    await resumeSchedule(plan, catchUp);
    refreshPlans();
    toast(`Resumed ${plan.name}`);
    onClose();
  });
  return (
    <Dialog
      title={`Resume ${plan.name}`}
      onClose={onClose}
      footer={<Choices onClose={onClose} action="Resume" running={resume.running} />}
      onSubmit={() => void resume.run()}
    >
      <div class="stack">
        <p>The schedule goes on with the next run.</p>
        <Check on={catchUp} onChange={setCatchUp}>
          Also launch the runs that the pause kept back
        </Check>
        {resume.error && <ErrorBox error={resume.error} />}
      </div>
    </Dialog>
  );
}
