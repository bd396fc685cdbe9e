import { signal } from "@preact/signals";

/** Whether the palette is shown. */
export const paletteOpen = signal(false);
/** The text in the palette's field. */
export const paletteText = signal("");
/** Whether Enter was pressed before the field was shown. */
export const enteredEarly = signal(false);
/** Whether the help is shown. */
export const helpOpen = signal(false);

/**
 * Show the palette. Letters that are typed before its module is loaded become the first text of its field, and Enter
 * picks the first option of this text.
 */
export function openPalette(): void {
  if (paletteOpen.peek()) return;
  paletteText.value = "";
  enteredEarly.value = false;
  paletteOpen.value = true;
  document.addEventListener("keydown", keepKey, true);
}

/** Leave the keys to the palette's field, which has the focus from now on. */
export function keepKeysNoMore(): void {
  document.removeEventListener("keydown", keepKey, true);
}

export function closePalette(): void {
  paletteOpen.value = false;
  keepKeysNoMore();
}

function keepKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape") closePalette();
  else if (event.key === "Enter") enteredEarly.value = true;
  else if (event.key === "Backspace") paletteText.value = paletteText.peek().slice(0, -1);
  else if (event.key.length === 1) paletteText.value += event.key;
  else return;
  // Otherwise the letters would be commands of the page below, and Enter would press its focused button.
  event.preventDefault();
  event.stopPropagation();
}
