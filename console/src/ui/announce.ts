/** Messages: one polite live region for screen readers, and toasts for everybody. */
import { signal } from "@preact/signals";

/** Text of the live region. The frame shows it. */
export const announced = signal("");
const waiting: string[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;
const APART_MS = 1000;
const WAITING_MAX = 5;

/** Announce a change to screen readers, at most one a second; under a flood the oldest ones are left out. */
export function announce(text: string): void {
  waiting.push(text);
  if (waiting.length > WAITING_MAX) waiting.shift();
  if (timer === undefined) next();
}

function next(): void {
  const text = waiting.shift();
  if (text === undefined) {
    timer = undefined;
    return;
  }
  announced.value = text;
  timer = setTimeout(next, APART_MS);
}

export interface Toast {
  id: number;
  text: string;
  failed: boolean;
  action?: { label: string; run: () => void };
}

/** Toasts that are shown, the oldest first. */
export const toasts = signal<readonly Toast[]>([]);
const SHOWN_MS = 6000;
const TOASTS_MAX = 4;
let last = 0;

/**
 * Show a message for some seconds; a failure stays until it is closed.
 *
 * @param action A button, such as "Undo".
 */
export function toast(text: string, options: { failed?: boolean; action?: Toast["action"] } = {}): void {
  last += 1;
  const id = last;
  const { failed = false, action } = options;
  toasts.value = [...toasts.value, { id, text, failed, ...(action ? { action } : {}) }].slice(-TOASTS_MAX);
  announce(text);
  if (!failed) setTimeout(() => closeToast(id), SHOWN_MS);
}

/** Remove a toast. */
export function closeToast(id: number): void {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}
