/** A selector with a search over all pages of a list: a combobox whose list is read while one types. */

import { useEffect, useId, useRef, useState } from "preact/hooks";
import "./picker.css";

export interface PickerItem {
  value: string;
  note: string;
}

export interface PickerPage {
  items: PickerItem[];
  /** Where the next page begins; "" after the last one. */
  token: string;
}

interface Props {
  label: string;
  value: string;
  /** Shown where there is no value. */
  empty?: string;
  /** Changes when another list is meant. */
  source: string;
  read: (words: string, token: string, signal: AbortSignal) => Promise<PickerPage>;
  onPick: (value: string) => void;
}

const TYPING_PAUSE_MS = 150;

interface Listed extends PickerPage {
  words: string;
  error: string;
}

const NOTHING: Listed = { items: [], token: "", words: "", error: "" };

export function Picker({ label, value, empty = "", source, read, onPick }: Props) {
  const id = useId();
  const [open, setOpen] = useState(false);
  const [words, setWords] = useState("");
  const [listed, setListed] = useState<Listed>(NOTHING);
  const [active, setActive] = useState(0);
  const [loading, setLoading] = useState(false);
  const running = useRef<AbortController | null>(null);
  const input = useRef<HTMLInputElement>(null);

  const load = (token: string): void => {
    running.current?.abort();
    const controller = new AbortController();
    running.current = controller;
    setLoading(true);
    read(words.trim(), token, controller.signal).then(
      (page) => {
        if (controller.signal.aborted) return;
        setListed((old) => ({ ...page, items: token ? [...old.items, ...page.items] : page.items, words, error: "" }));
        setLoading(false);
      },
      (error: unknown) => {
        if (controller.signal.aborted) return;
        setListed({ ...NOTHING, error: error instanceof Error ? error.message : String(error) });
        setLoading(false);
      },
    );
  };

  useEffect(() => {
    if (!open) return undefined;
    setActive(0);
    const timer = setTimeout(() => load(""), listed.items.length ? TYPING_PAUSE_MS : 0);
    return () => clearTimeout(timer);
  }, [open, words, source]);
  useEffect(() => setListed(NOTHING), [source]);
  useEffect(() => () => running.current?.abort(), []);

  const pick = (item: PickerItem | undefined): void => {
    if (!item) return;
    onPick(item.value);
    setOpen(false);
    setWords("");
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (!open && (event.key === "ArrowDown" || event.key === "Enter")) setOpen(true);
    else if (event.key === "ArrowDown") setActive(Math.min(active + 1, listed.items.length - 1));
    else if (event.key === "ArrowUp") setActive(Math.max(active - 1, 0));
    else if (event.key === "Enter") {
      // Those of the words before are still shown: none of them is meant.
      if (listed.words === words) pick(listed.items[active]);
    } else if (event.key === "Escape" && open) setOpen(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div
      class="picker"
      onFocusOut={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setOpen(false);
      }}
    >
      <label for={id} class="picker-label">
        {label}
      </label>
      <input
        ref={input}
        id={id}
        class="input"
        role="combobox"
        aria-expanded={open}
        aria-controls={`${id}-list`}
        aria-autocomplete="list"
        {...(open && listed.items[active] ? { "aria-activedescendant": `${id}-${active}` } : {})}
        autocomplete="off"
        spellcheck={false}
        value={open ? words : value}
        placeholder={(open && value) || empty}
        onClick={() => setOpen(true)}
        onInput={(event) => {
          setOpen(true);
          setWords(event.currentTarget.value);
        }}
        onKeyDown={onKeyDown}
      />
      {open && (
        <div class="picker-pop">
          <div id={`${id}-list`} role="listbox" aria-label={label} class="picker-list">
            {listed.items.map((item, index) => (
              <div
                key={item.value}
                id={`${id}-${index}`}
                role="option"
                tabIndex={-1}
                aria-selected={item.value === value}
                class={index === active ? "picker-item picker-active" : "picker-item"}
                onMouseDown={(event) => event.preventDefault()}
                onClick={() => pick(item)}
              >
                <span>{item.value}</span> <span class="picker-note">{item.note}</span>
              </div>
            ))}
          </div>
          {listed.error && <p class="field-problem">{listed.error}</p>}
          {!loading && !listed.error && listed.items.length === 0 && <p class="picker-note">Nothing found</p>}
          {listed.token && (
            <button
              type="button"
              class="button small"
              disabled={loading}
              onClick={() => {
                load(listed.token);
                input.current?.focus();
              }}
            >
              Show more
            </button>
          )}
        </div>
      )}
    </div>
  );
}
