import type { ComponentChildren, JSX } from "preact";
import type { NeedPlace, Role } from "../model/roles.ts";
import { toast } from "../ui/announce.ts";
import type { MenuItem } from "../ui/Menu.tsx";
import { refusal } from "./roles.ts";

interface Props {
  need: Role;
  place: NeedPlace;
  class: string;
  children: ComponentChildren;
  href?: string;
  onClick?: () => void;
  type?: "button" | "submit";
  disabled?: boolean;
  title?: string | undefined;
  "aria-label"?: string;
}

/**
 * A button, or with `href` a link, that a role may forbid. Then it is disabled and says why. It keeps its place in the
 * order of the keyboard, so that the reason can be read there, too.
 */
export function Guarded({ need, place, href, onClick, type = "button", children, ...rest }: Props): JSX.Element {
  const reason = refusal(need, place);
  if (reason) {
    const { disabled: _, ...shown } = rest;
    return (
      <button
        type="button"
        {...shown}
        title={reason}
        aria-disabled="true"
        aria-description={reason}
        onClick={(event) => {
          event.stopPropagation();
          toast(reason, { failed: true });
        }}
      >
        {children}
      </button>
    );
  }
  return href === undefined ? (
    <button type={type} {...rest} onClick={onClick}>
      {children}
    </button>
  ) : (
    <a href={href} class={rest.class} title={rest.title} aria-label={rest["aria-label"]}>
      {children}
    </a>
  );
}

/** Return entries of a menu, disabled with the reason where a role forbids them. */
export function guarded(need: Role, place: NeedPlace, items: readonly MenuItem[]): MenuItem[] {
  const reason = refusal(need, place);
  return items.map((item) => (reason ? { ...item, reason } : item));
}
