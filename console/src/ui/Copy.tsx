import { useState } from "preact/hooks";
import { announce, toast } from "./announce.ts";
import { Icon } from "./Icon.tsx";

/** Copy a text to the clipboard, and tell the user where the browser refuses. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied");
    return true;
  } catch {
    // Browsers have no clipboard on plain http, except on localhost.
    toast("The browser does not allow the console to copy. Select the text instead.", { failed: true });
    return false;
  }
}

/**
 * A button that copies a text.
 *
 * @param text The text, or a function that makes it when the button is pressed.
 * @param label Name of the button, shown with `children`.
 */
export function Copy({
  text,
  label = "Copy",
  children,
}: {
  text: string | (() => string);
  label?: string;
  children?: string;
}) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    if (!(await copyText(typeof text === "string" ? text : text()))) return;
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button
      type="button"
      class={`button quiet small${children ? "" : " icon-only"}`}
      title={label}
      onClick={(event) => {
        event.stopPropagation();
        void copy();
      }}
    >
      <Icon name={done ? "check" : "copy"} {...(children ? {} : { label })} />
      {children}
    </button>
  );
}
