/** A phase by colour, icon and text. */
import { asPhase, type PhaseGroup, type Phase as PhaseName, phaseGroup, phaseLabel } from "../model/phases.ts";

/** Draw the icon of a group of phases: each has a shape of its own. */
export function PhaseIcon({ group, size = 14 }: { group: PhaseGroup; size?: number }) {
  const line = { fill: "none", stroke: "currentColor", "stroke-width": 1.75, "stroke-linecap": "round" } as const;
  const inside = { ...line, stroke: "var(--surface)" };
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" aria-hidden="true">
      {group === "succeeded" && (
        <>
          <circle cx="8" cy="8" r="7" fill="currentColor" />
          <path d="M4.8 8.3 7 10.5l4.2-4.8" {...inside} />
        </>
      )}
      {group === "failed" && (
        <>
          <path d="M5 1h6l4 4v6l-4 4H5l-4-4V5z" fill="currentColor" />
          <path d="M5.5 5.5l5 5M10.5 5.5l-5 5" {...inside} />
        </>
      )}
      {group === "running" && (
        <>
          <circle cx="8" cy="8" r="6.2" {...line} opacity="0.35" />
          <path class="spin" d="M8 1.8A6.2 6.2 0 0 1 14.2 8" {...line} />
          <circle cx="8" cy="8" r="2" fill="currentColor" />
        </>
      )}
      {group === "waiting" && (
        <>
          <circle cx="8" cy="8" r="6.2" {...line} />
          <path d="M8 4.5V8l2.4 1.6" {...line} />
        </>
      )}
      {group === "paused" && (
        <>
          <rect x="1.2" y="1.2" width="13.6" height="13.6" rx="3" fill="currentColor" />
          <path d="M6 5v6M10 5v6" {...inside} />
        </>
      )}
      {group === "aborted" && (
        <>
          <circle cx="8" cy="8" r="6.2" {...line} />
          <path d="M3.8 12.2l8.4-8.4" {...line} />
        </>
      )}
      {group === "skipped" && <path d="M3 4l5 4-5 4zM9 4l5 4-5 4z" {...line} />}
      {group === "unknown" && <circle cx="8" cy="8" r="6.2" {...line} stroke-dasharray="2 2.9" />}
    </svg>
  );
}

interface PhaseProps {
  /** Name of the API, such as `FAILED`; null and unknown names show as unknown. */
  phase: PhaseName | string | null | undefined;
  /** Text in place of the phase's own. */
  label?: string;
  /** Show the icon alone; the text stays for screen readers. */
  compact?: boolean;
  /** Put a tint behind icon and text. */
  pill?: boolean;
}

/** Show a phase. */
export function Phase({ phase, label, compact = false, pill = false }: PhaseProps) {
  const known = asPhase(phase);
  const group = phaseGroup(known);
  const text = label ?? phaseLabel(known);
  return (
    <span class={`phase phase-${group}${pill ? " pill" : ""}`} title={compact ? text : undefined}>
      <PhaseIcon group={group} />
      <span class={compact ? "hidden-text" : undefined}>{text}</span>
    </span>
  );
}
