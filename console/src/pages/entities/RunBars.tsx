import type { Execution } from "../../api/entities.ts";
import { asPhase, phaseGroup, phaseLabel } from "../../model/phases.ts";
import { durationMs, durationText } from "../../model/times.ts";
import { links, type Place } from "../../routes.ts";
import { Bars } from "../../ui/Bars.tsx";
import { Phase } from "../../ui/Phase.tsx";
import { Time } from "../../ui/Time.tsx";

interface Props {
  place: Place;
  /** The newest first. */
  runs: readonly Execution[];
  name: string;
}

/** The phase and time of the last execution, with bars of the last ones. */
export function LastRun({ place, runs }: Omit<Props, "name">) {
  const last = runs[0];
  if (!last?.id?.name) return <span class="muted">–</span>;
  return (
    <a class="last-run" href={links.execution(place, last.id.name)}>
      <Phase phase={last.closure?.phase} /> <Time at={last.closure?.created_at} relative />
    </a>
  );
}

/** Bars of the last executions of one entity, the oldest first. */
export function RunBars({ place, runs, name }: Props) {
  if (runs.length === 0) return null;
  const bars = [...runs].reverse().map((run) => {
    const phase = asPhase(run.closure?.phase);
    const ms = durationMs(run.closure?.duration) ?? 0;
    const key = run.id?.name ?? "";
    return {
      key,
      ms,
      group: phaseGroup(phase),
      title: `${key}: ${phaseLabel(phase)}, ${durationText(ms)}`,
      href: links.execution(place, key),
    };
  });
  const failed = runs.filter((run) => phaseGroup(asPhase(run.closure?.phase)) === "failed").length;
  return <Bars small bars={bars} label={`Last ${runs.length} runs of ${name}, ${failed} failed`} />;
}
