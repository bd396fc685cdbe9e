/** Keys that move within a composite of one tab stop. */

/**
 * Return the position that a key leads to; null where the key moves nothing.
 *
 * @param horizontal Whether ← and → move, too.
 */
export function stepKey(
  event: KeyboardEvent,
  at: number,
  count: number,
  { horizontal = false, wrap = horizontal }: { horizontal?: boolean; wrap?: boolean } = {},
): number | null {
  if (count === 0 || event.altKey || event.ctrlKey || event.metaKey) return null;
  const to = (next: number) => (wrap ? (next + count) % count : Math.min(count - 1, Math.max(0, next)));
  switch (event.key) {
    case "ArrowDown":
      return horizontal ? null : to(at + 1);
    case "ArrowUp":
      return horizontal ? null : to(at - 1);
    case "ArrowRight":
      return horizontal ? to(at + 1) : null;
    case "ArrowLeft":
      return horizontal ? to(at - 1) : null;
    case "Home":
      return 0;
    case "End":
      return count - 1;
    default:
      return null;
  }
}

/** Return whether a text is typed into the target of an event, so that letters are no commands. */
export function isTyping(event: Event): boolean {
  const target = event.target as HTMLElement | null;
  if (!target?.matches) return false;
  return target.matches("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
}

/** Return the elements below `root` that the Tab key or a script can focus, in their order. */
export function focusable(root: HTMLElement): HTMLElement[] {
  const found = root.querySelectorAll<HTMLElement>("a[href], button, input, select, textarea, [tabindex]");
  return [...found].filter((one) => !one.hasAttribute("disabled") && one.getClientRects().length > 0);
}
