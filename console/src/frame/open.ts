import { signal } from "@preact/signals";

/** Whether the palette is shown. */
export const paletteOpen = signal(false);
/** Whether the help is shown. */
export const helpOpen = signal(false);
