import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";

/** One choice: `value` is what is picked, `label` what is shown (the value without one). */
export interface Option {
  value: string;
  label?: ComponentChildren;
  detail?: ComponentChildren;
}

interface ComboboxProps {
  /** The text in the field. */
  value: string;
  onInput: (text: string) => void;
  options: readonly Option[];
  onPick: (value: string) => void;
  /** Enter where no option is chosen. */
  onEnter?: (text: string) => void;
  label: string;
  placeholder?: string;
  /** Shown below the options, such as that there are more. */
  note?: ComponentChildren;
  inputClass?: string;
  id?: string;
  autofocus?: boolean;
  /** The options are always shown, as in the palette; Escape is left to the dialog around. */
  always?: boolean;
  onKeyDown?: (event: KeyboardEvent) => void;
  inputRef?: (element: HTMLInputElement | null) => void;
}

/** A text field with a list of choices. The arrow keys choose, Enter picks, Escape closes. */
export function Combobox(props: ComboboxProps) {
  const { value, onInput, options, onPick, onEnter, label, placeholder, note, inputClass = "input" } = props;
  const list = useId();
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => setAt(-1), [value]);
  useEffect(() => {
    box.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }, [at]);

  const pick = (option: Option | undefined) => {
    if (!option) return;
    setOpen(false);
    onPick(option.value);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step !== 0 && options.length > 0) {
      event.preventDefault();
      setOpen(true);
      setAt(open || props.always ? (at + step + options.length + (at < 0 && step < 0 ? 1 : 0)) % options.length : 0);
    } else if (event.key === "Enter" && !event.isComposing) {
      if ((open || props.always) && at >= 0) {
        event.preventDefault();
        pick(options[at]);
      } else if (onEnter) {
        event.preventDefault();
        setOpen(false);
        onEnter(value);
      }
    } else if (event.key === "Escape" && open && !props.always && options.length > 0) {
      event.preventDefault();
      event.stopPropagation();
      setOpen(false);
    } else props.onKeyDown?.(event);
  };
  const isShown = (open || props.always === true) && options.length > 0;
  return (
    <div class="combobox" ref={box}>
      <input
        {...(props.id ? { id: props.id } : {})}
        ref={props.inputRef}
        class={inputClass}
        role="combobox"
        aria-label={label}
        aria-expanded={isShown}
        aria-controls={list}
        aria-autocomplete="list"
        aria-activedescendant={isShown && at >= 0 ? `${list}-${at}` : undefined}
        autoComplete="off"
        spellcheck={false}
        value={value}
        placeholder={placeholder}
        autofocus={props.autofocus}
        onFocus={() => setOpen(true)}
        onClick={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onInput={(event) => {
          setOpen(true);
          onInput(event.currentTarget.value);
        }}
        onKeyDown={onKeyDown}
      />
      <div id={list} role="listbox" aria-label={label} class="options" hidden={!isShown}>
        {isShown &&
          options.map((option, index) => (
            <div
              key={option.value}
              id={`${list}-${index}`}
              role="option"
              aria-selected={index === at}
              tabIndex={-1}
              // The field keeps the focus.
              onMouseDown={(event) => event.preventDefault()}
              onClick={() => pick(option)}
            >
              <span>{option.label ?? option.value}</span>
              {option.detail && <span class="detail">{option.detail}</span>}
            </div>
          ))}
        {isShown && note && <div class="heading muted small">{note}</div>}
      </div>
    </div>
  );
}
