/** Finding names by typed text, and the filters that ask a server for a name. */

/**
 * Characters that a value in a filter cannot hold, since the filter language has no escape for them: `+` separates
 * filters, `;` separates values, the last comma starts the value, and a leading blank is dropped.
 */
const UNFILTERABLE = /[+;,\n\r]|^\s+/;

/** Return how well a name matches a text, 0 for not at all. All words of the text must occur, in any order. */
export function score(name: string, text: string): number {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return 1;
  const lower = name.toLowerCase();
  let total = 0;
  for (const word of words) {
    const at = lower.indexOf(word);
    if (at < 0) return 0;
    const starts = at === 0 || !/[\p{L}\p{N}]/u.test(lower[at - 1] ?? "");
    total += (lower === word ? 8 : 0) + (at === 0 ? 4 : 0) + (starts ? 2 : 0) + word.length / lower.length;
  }
  return total;
}

/** Return the names that match, the best first; equal ones keep their order. */
export function matches<T>(given: readonly T[], text: string, nameOf: (one: T) => string, most = Infinity): T[] {
  if (!text.trim()) return given.slice(0, most);
  return given
    .map((one) => ({ one, value: score(nameOf(one), text) }))
    .filter(({ value }) => value > 0)
    .sort((left, right) => right.value - left.value)
    .slice(0, most)
    .map(({ one }) => one);
}

/** A filter that reads at least the rows whose field has a value. */
export interface NameFilter {
  readonly filter: string;
  /** Whether the filter reads other rows, too, so that the caller must compare names itself. */
  readonly exact: boolean;
}

/**
 * Return a filter for one value of a field.
 *
 * A value with `+` or another character that the filter language cannot hold is asked for by its longest part that it
 * can. The caller drops the other rows.
 */
export function filterFor(field: string, value: string): NameFilter | undefined {
  if (!UNFILTERABLE.test(value)) return { filter: `eq(${field},${value})`, exact: true };
  const filter = containing(field, value);
  return filter === undefined ? undefined : { filter, exact: false };
}

/** Return a filter for values that contain the longest part of a text that a filter can hold. */
export function containing(field: string, text: string): string | undefined {
  const parts = text.split(UNFILTERABLE).sort((left, right) => right.length - left.length);
  return parts[0] ? `contains(${field},${parts[0]})` : undefined;
}
