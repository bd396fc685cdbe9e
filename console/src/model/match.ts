/** Find names by a few letters. No DOM. */

/**
 * Return how well a text fits; null where it does not. Lower is better: whole text, start, start of a part, anywhere,
 * letters in order.
 */
export function score(text: string, wanted: string): number | null {
  const have = text.toLowerCase();
  const want = wanted.toLowerCase();
  if (have === want) return 0;
  if (have.startsWith(want)) return 1;
  const at = have.indexOf(want);
  if (at > 0) return /[^a-z0-9]/.test(have[at - 1] ?? "") ? 2 : 3;
  const words = want.split(/\s+/);
  if (words.length > 1 && words.every((word) => have.includes(word))) return 4;
  let from = 0;
  for (const letter of want) {
    from = have.indexOf(letter, from) + 1;
    if (from === 0) return null;
  }
  return 5 + (have.length - want.length) / 1000;
}

/** Return the elements that fit, the best first; equal ones keep their order. */
export function rank<T>(all: readonly T[], wanted: string, textOf: (one: T) => string): T[] {
  return all
    .map((one) => [one, score(textOf(one), wanted)] as const)
    .filter((pair): pair is readonly [T, number] => pair[1] !== null)
    .sort((a, b) => a[1] - b[1])
    .map(([one]) => one);
}
