import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";

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
  /**
   * The options are always shown and one of them is always chosen, at first the first one; Escape is left to the
   * dialog around. The chosen option stays when others arrive for the same text.
   */
  always?: boolean;
  onKeyDown?: (event: KeyboardEvent) => void;
  inputRef?: (element: HTMLInputElement | null) => void;
}

interface Chosen {
  /** The text that was typed when the option was chosen. */
  text: string;
  option: Option;
}

/** A text field with a list of choices. The arrow keys choose, Enter picks the chosen one, Escape closes. */
export function Combobox(props: ComboboxProps) {
  const { value, onInput, onPick, onEnter, label, placeholder, note, inputClass = "input" } = props;
  const list = useId();
  const [open, setOpen] = useState(false);
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const [options, at] = withChosen(props.options, chosen?.text === value ? chosen.option : null, props.always === true);
  const choose = (index: number) => {
    const option = options[index];
    setChosen(option ? { text: value, option } : null);
  };
  const selected = options[at]?.value;
  // Before the next key, so that Enter picks what is drawn as chosen.
  useLayoutEffect(() => {
    if (selected !== undefined && chosen?.text !== value) choose(at);
    box.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }, [selected, at, value]);

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
      const isOpen = open || props.always === true;
      choose(isOpen ? (at + step + options.length + (at < 0 && step < 0 ? 1 : 0)) % options.length : 0);
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
          setChosen(null);
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

/** Return the options with the chosen one among them, and its index; -1 where none is chosen. */
function withChosen(options: readonly Option[], chosen: Option | null, always: boolean): [readonly Option[], number] {
  if (!chosen) return [options, always && options.length > 0 ? 0 : -1];
  const at = options.findIndex((one) => one.value === chosen.value);
  return at < 0 && always ? [[chosen, ...options], 0] : [options, at];
}
