import type { ComponentChildren } from "preact";
import { useId, useRef, useState } from "preact/hooks";
import { stepKey } from "./focus.ts";

/** One entry: a link with `href`, else an action. `reason` says why it cannot be used. */
export interface MenuItem {
  label: ComponentChildren;
  key?: string;
  href?: string;
  onSelect?: () => void;
  reason?: string | undefined;
  checked?: boolean;
  /** Draw a line above. */
  separated?: boolean;
}

const MARGIN_PX = 4;

/** Put a popup below the element that opened it, inside the window. */
export function placePopup(popup: HTMLElement, anchor: HTMLElement): void {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = popup;
  const left = Math.min(at.left, window.innerWidth - width - MARGIN_PX);
  const below = at.bottom + MARGIN_PX;
  const fits = below + height <= window.innerHeight;
  popup.style.left = `${Math.max(MARGIN_PX, left)}px`;
  popup.style.top = `${fits ? below : Math.max(MARGIN_PX, at.top - height - MARGIN_PX)}px`;
}

interface MenuProps {
  /** Content of the button. */
  button: ComponentChildren;
  /** Name of the button where its content is an icon. */
  label?: string;
  items: readonly MenuItem[] | (() => readonly MenuItem[]);
  class?: string;
  heading?: ComponentChildren;
  disabled?: boolean;
}

/** A button that opens a menu. Arrow keys, Home, End and first letters move; Escape closes. */
export function Menu({ button, label, items, class: className = "button", heading, disabled }: MenuProps) {
  const id = useId();
  const opener = useRef<HTMLButtonElement>(null);
  const popup = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState(false);
  const shown = open ? (typeof items === "function" ? items() : items) : [];
  const entries = () => [...(popup.current?.querySelectorAll<HTMLElement>('[role^="menuitem"]') ?? [])];

  const onToggle = (event: ToggleEvent) => setOpen(event.newState === "open");
  const show = () => {
    setOpen(true);
    popup.current?.showPopover();
    requestAnimationFrame(() => {
      if (popup.current && opener.current) placePopup(popup.current, opener.current);
      entries()[0]?.focus();
    });
  };
  const close = () => {
    popup.current?.hidePopover();
    opener.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const all = entries();
    const at = all.indexOf(document.activeElement as HTMLElement);
    const next = stepKey(event, at, all.length, { wrap: true });
    if (next !== null) {
      event.preventDefault();
      all[next]?.focus();
    } else if (event.key === "Tab") close();
    else if (event.key.length === 1 && event.key !== " ") {
      const letter = event.key.toLowerCase();
      const ordered = [...all.slice(at + 1), ...all.slice(0, at + 1)];
      ordered.find((one) => one.textContent?.trim().toLowerCase().startsWith(letter))?.focus();
    }
    event.stopPropagation();
  };
  return (
    <>
      <button
        ref={opener}
        type="button"
        class={className}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        aria-label={label}
        title={label}
        disabled={disabled}
        onClick={(event) => {
          event.stopPropagation();
          if (open) close();
          else show();
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown" && !open) {
            event.preventDefault();
            event.stopPropagation();
            show();
          }
        }}
      >
        {button}
      </button>
      <div ref={popup} id={id} popover="auto" class="popup" onToggle={onToggle} onKeyDown={onKeyDown}>
        {open && heading && <div class="heading">{heading}</div>}
        {open && (
          <div role="menu" aria-label={label}>
            {shown.map((item, index) => (
              <Entry key={item.key ?? index} item={item} close={close} />
            ))}
          </div>
        )}
      </div>
    </>
  );
}

function Entry({ item, close }: { item: MenuItem; close: () => void }) {
  const { label, href, onSelect, reason, checked, separated } = item;
  const shared = { tabIndex: -1, title: reason, "aria-disabled": reason ? true : undefined } as const;
  const choose = (event: Event) => {
    event.stopPropagation();
    if (reason) {
      event.preventDefault();
      return;
    }
    close();
    onSelect?.();
  };
  return (
    <>
      {separated && <hr class="separator" />}
      {href && !reason ? (
        <a role="menuitem" href={href} {...shared} onClick={() => close()}>
          {label}
        </a>
      ) : checked === undefined ? (
        <button type="button" role="menuitem" {...shared} onClick={choose}>
          {label}
        </button>
      ) : (
        <button type="button" role="menuitemradio" aria-checked={checked} {...shared} onClick={choose}>
          <span aria-hidden="true">{checked ? "✓" : "\u2003"}</span>
          {label}
        </button>
      )}
    </>
  );
}
