/** Keys of the page: single keys and sequences such as `g e`, listed by the help. Fields keep their letters. */
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { isTyping } from "./focus.ts";

export interface KeyCommand {
  /** `?`, `t`, or a sequence such as `g e`; `mod+k` is ⌘K or Ctrl K and works in fields, too. */
  keys: string;
  /** What it does, as the help shows it. */
  text: string;
  run: () => void;
}

/** Commands of the shown components by the name of their group. */
export const commands = signal<readonly { group: string; commands: readonly KeyCommand[] }[]>([]);

const SEQUENCE_MS = 1200;
let begun = "";
let begunAt = 0;

/**
 * Add keys while a component is shown.
 *
 * @param group Heading in the help.
 * @param list The commands; the functions of the last render run.
 */
export function useKeys(group: string, list: readonly KeyCommand[]): void {
  const latest = useRef(list);
  latest.current = list;
  useEffect(() => {
    const added = list.map(({ keys, text }, index) => ({ keys, text, run: () => latest.current[index]?.run() }));
    const entry = { group, commands: added };
    commands.value = [...commands.peek(), entry];
    return () => {
      commands.value = commands.peek().filter((one) => one !== entry);
    };
  }, [group, list.map((one) => one.keys).join()]);
}

function pressed(event: KeyboardEvent): string {
  if (event.key.toLowerCase() === "k" && (event.metaKey || event.ctrlKey) && !event.altKey) return "mod+k";
  return event.metaKey || event.ctrlKey || event.altKey ? "" : event.key;
}

function onKeyDown(event: KeyboardEvent): void {
  const key = pressed(event);
  if (key === "" || event.defaultPrevented || event.isComposing) return;
  const alone = key !== "mod+k";
  if (alone && (isTyping(event) || document.querySelector("dialog[open]"))) return;
  const all = commands.peek().flatMap((entry) => entry.commands);
  const sequence = Date.now() - begunAt < SEQUENCE_MS && begun ? `${begun} ${key}` : key;
  // Later components come first: a page may have a key that the frame has, too.
  const found = all.findLast((one) => one.keys === sequence) ?? all.findLast((one) => one.keys === key);
  begun = "";
  if (found) {
    event.preventDefault();
    found.run();
  } else if (all.some((one) => one.keys.startsWith(`${key} `))) {
    begun = key;
    begunAt = Date.now();
  }
}

/** Follow the keyboard. */
export function startKeys(): void {
  document.addEventListener("keydown", onKeyDown);
}
