// Colours of terminals in text: escape sequences become spans with classes; other control characters are dropped.

/** A part of a line. `style` holds colours beyond the sixteen that have classes. */
export interface AnsiSpan {
  readonly text: string;
  readonly classes: string;
  readonly color: string | undefined;
  readonly background: string | undefined;
}

interface State {
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
  color: string | undefined;
  background: string | undefined;
}

// CSI sequences, OSC sequences up to their terminator, and single escapes.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these characters are looked for
const ESCAPES = /\x1b\[([0-9;:]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]?/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these characters are looked for
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f]/g;

/** Whether a text has escape sequences. */
export function hasAnsi(text: string): boolean {
  return text.includes("\x1b");
}

/** Return a text without escape sequences and control characters. */
export function plainText(text: string): string {
  return text.replace(ESCAPES, "").replace(CONTROLS, "");
}

/** Return the parts of a line with their colours. A line starts without colours. */
export function ansiSpans(text: string): AnsiSpan[] {
  const spans: AnsiSpan[] = [];
  const state = cleared();
  let at = 0;
  const push = (part: string): void => {
    const visible = part.replace(CONTROLS, "");
    if (visible) spans.push({ text: visible, ...shown(state) });
  };
  for (const match of text.matchAll(ESCAPES)) {
    push(text.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[2] === "m") apply(state, match[1] ?? "");
  }
  push(text.slice(at));
  return spans;
}

function cleared(): State {
  return { bold: false, dim: false, italic: false, underline: false, color: undefined, background: undefined };
}

function shown(state: State): Omit<AnsiSpan, "text"> {
  const classes = [
    state.bold && "ansi-bold",
    state.dim && "ansi-dim",
    state.italic && "ansi-italic",
    state.underline && "ansi-underline",
    state.color && !state.color.startsWith("rgb") && `ansi-${state.color}`,
    state.background && !state.background.startsWith("rgb") && `ansi-on-${state.background}`,
  ];
  return {
    classes: classes.filter(Boolean).join(" "),
    color: state.color?.startsWith("rgb") ? state.color : undefined,
    background: state.background?.startsWith("rgb") ? state.background : undefined,
  };
}

function apply(state: State, parameters: string): void {
  const codes = parameters.split(/[;:]/).map((code) => (code === "" ? 0 : Number(code)));
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at] ?? 0;
    if (code === 38 || code === 48) {
      const [color, used] = extended(codes.slice(at + 1));
      at += used;
      if (code === 38) state.color = color;
      else state.background = color;
    } else simple(state, code);
  }
}

function simple(state: State, code: number): void {
  if (code === 0) Object.assign(state, cleared());
  else if (code === 1) state.bold = true;
  else if (code === 2) state.dim = true;
  else if (code === 3) state.italic = true;
  else if (code === 4) state.underline = true;
  else if (code === 22) state.bold = state.dim = false;
  else if (code === 23) state.italic = false;
  else if (code === 24) state.underline = false;
  else if (code === 39) state.color = undefined;
  else if (code === 49) state.background = undefined;
  else if (code >= 30 && code <= 37) state.color = String(code - 30);
  else if (code >= 90 && code <= 97) state.color = String(code - 90 + 8);
  else if (code >= 40 && code <= 47) state.background = String(code - 40);
  else if (code >= 100 && code <= 107) state.background = String(code - 100 + 8);
}

/** Return the colour of `5;N` or `2;R;G;B`, and the number of codes that it takes. */
function extended(codes: readonly number[]): [string | undefined, number] {
  if (codes[0] === 5) return [palette(codes[1] ?? 0), 2];
  if (codes[0] === 2) return [rgb(codes[1] ?? 0, codes[2] ?? 0, codes[3] ?? 0), 4];
  return [undefined, codes.length];
}

/** Return a colour of the palette of 256: sixteen with classes, a cube of 216, and 24 greys. */
function palette(index: number): string {
  if (index < 16) return String(Math.max(0, Math.floor(index)));
  if (index >= 232) {
    const grey = 8 + 10 * (index - 232);
    return rgb(grey, grey, grey);
  }
  const level = (step: number): number => (step === 0 ? 0 : 55 + 40 * step);
  const cell = index - 16;
  return rgb(level(Math.floor(cell / 36)), level(Math.floor(cell / 6) % 6), level(cell % 6));
}

function rgb(...parts: [number, number, number]): string {
  return `rgb(${parts.map((part) => Math.min(255, Math.max(0, Math.floor(part)))).join(" ")})`;
}
