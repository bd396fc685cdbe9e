/** Small controls of forms. */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { Icon } from "./Icon.tsx";

/**
 * A label, its control, a hint and a problem.
 *
 * @param children Receives the ids and attributes that connect the control with its texts.
 */
export function Field({
  label,
  hint,
  problem,
  required = false,
  children,
}: {
  label: ComponentChildren;
  hint?: ComponentChildren;
  problem?: string | null | undefined;
  required?: boolean;
  children: (attributes: Record<string, string | boolean | undefined>) => ComponentChildren;
}) {
  const id = useId();
  const described = [hint && `${id}-hint`, problem && `${id}-problem`].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>
        {label}
        {required && <span aria-hidden="true"> *</span>}
      </label>
      {children({
        id,
        "aria-describedby": described || undefined,
        "aria-invalid": problem ? true : undefined,
        "aria-required": required || undefined,
      })}
      {hint && (
        <div class="hint" id={`${id}-hint`}>
          {hint}
        </div>
      )}
      {problem && (
        <div class="problem" id={`${id}-problem`} role="alert">
          {problem}
        </div>
      )}
    </div>
  );
}

/** A switch with its text. */
export function Switch({
  on,
  onChange,
  children,
  label,
  disabled,
  title,
}: {
  on: boolean;
  onChange: (on: boolean) => void;
  children?: ComponentChildren;
  /** Name where there is no text. */
  label?: string;
  disabled?: boolean | undefined;
  title?: string | undefined;
}) {
  return (
    <button
      type="button"
      role="switch"
      class="switch"
      aria-checked={on}
      aria-label={label}
      disabled={disabled}
      title={title}
      onClick={(event) => {
        event.stopPropagation();
        onChange(!on);
      }}
    >
      <span class="track" aria-hidden="true" />
      {children}
    </button>
  );
}

/** A checkbox with its text. */
export function Check({
  on,
  onChange,
  children,
  label,
}: {
  on: boolean;
  onChange: (on: boolean) => void;
  children?: ComponentChildren;
  label?: string;
}) {
  return (
    <label class="check">
      <input
        type="checkbox"
        checked={on}
        aria-label={label}
        onChange={(event) => onChange(event.currentTarget.checked)}
      />
      {children}
    </label>
  );
}

/** A label, tag or filter; with `onRemove` it has a button. */
export function Chip({
  children,
  onRemove,
  removeLabel = "Remove",
}: {
  children: ComponentChildren;
  onRemove?: () => void;
  removeLabel?: string;
}) {
  return (
    <span class="chip">
      <span>{children}</span>
      {onRemove && (
        <button type="button" onClick={onRemove}>
          <Icon name="cross" size={12} label={removeLabel} />
        </button>
      )}
    </span>
  );
}

/**
 * A link from data. Only http and https are links; everything else is shown as text, because `javascript:` would run.
 */
export function DataLink({ href, children }: { href: string; children?: ComponentChildren }) {
  if (!isWebAddress(href)) return <span>{children ?? href}</span>;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {children ?? href}
    </a>
  );
}

/** Return whether a text is an absolute http or https address. */
export function isWebAddress(text: string): boolean {
  try {
    const { protocol } = new URL(text);
    return protocol === "http:" || protocol === "https:";
  } catch {
    return false;
  }
}
