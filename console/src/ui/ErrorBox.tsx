import type { ComponentChildren } from "preact";
import { Icon } from "./Icon.tsx";

/** What an error box shows; an `ApiError` has these fields. */
export interface Failure {
  message: string;
  call?: string;
  status?: number;
}

/** Show a failed call: its name, status and message, and a button to try again. */
export function ErrorBox({
  error,
  onRetry,
  children,
}: {
  error: Failure | null | undefined;
  onRetry?: (() => void) | undefined;
  children?: ComponentChildren;
}) {
  if (!error) return null;
  const origin = [error.call, error.status || undefined].filter(Boolean).join(", ");
  return (
    <div class="error-box" role="alert">
      <Icon name="warning" />
      <div class="text">
        {error.message}
        {origin && <span class="muted small"> ({origin})</span>}
        {children}
      </div>
      {onRetry && (
        <button type="button" class="button small" onClick={onRetry}>
          <Icon name="refresh" /> Try again
        </button>
      )}
    </div>
  );
}

/** Show a notice above a page: `warning` in another colour. */
export function Notice({ warning = false, children }: { warning?: boolean; children: ComponentChildren }) {
  return (
    <div class={warning ? "notice warning" : "notice"}>
      <Icon name={warning ? "warning" : "info"} />
      <div class="text">{children}</div>
    </div>
  );
}
