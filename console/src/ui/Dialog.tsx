import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { Icon } from "./Icon.tsx";

interface DialogProps {
  title: ComponentChildren;
  onClose: () => void;
  /** Buttons at the end, the main one last. */
  footer?: ComponentChildren;
  children: ComponentChildren;
  size?: "narrow" | "normal" | "wide";
  /** Called for Enter in a field and for a submit button in the footer; makes the dialog a form. */
  onSubmit?: () => void;
  /** Whether Escape and a click beside the dialog close it; false while something would be lost. */
  dismissible?: boolean;
}

/** A modal dialog; it is open while it is shown. The focus returns to where it was. */
export function Dialog({
  title,
  onClose,
  footer,
  children,
  size = "normal",
  onSubmit,
  dismissible = true,
}: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  // Before the next key, so that a letter typed at once is typed into the dialog.
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    const dialog = ref.current;
    dialog?.showModal();
    dialog?.querySelector<HTMLElement>("[autofocus], .body input, .body select, .body textarea")?.focus();
    return () => {
      dialog?.close();
      if (before?.isConnected) before.focus();
    };
  }, []);
  const onCancel = (event: Event) => {
    event.preventDefault();
    if (dismissible) onClose();
  };
  const content = (
    <>
      <header>
        <h2 id={id}>{title}</h2>
        <button type="button" class="button quiet icon-only spread" onClick={onClose}>
          <Icon name="cross" label="Close" />
        </button>
      </header>
      <div class="body">{children}</div>
      {footer && <footer>{footer}</footer>}
    </>
  );
  return (
    <dialog
      ref={ref}
      class={`dialog ${size}`}
      aria-labelledby={id}
      onCancel={onCancel}
      onMouseDown={(event) => {
        if (event.target === ref.current && dismissible) onClose();
      }}
    >
      {onSubmit ? (
        <form
          class="dialog-form"
          onSubmit={(event) => {
            event.preventDefault();
            onSubmit();
          }}
        >
          {content}
        </form>
      ) : (
        content
      )}
    </dialog>
  );
}

/** Ask a question with two answers. */
export function Confirm({
  title,
  children,
  action,
  danger = false,
  busy = false,
  onConfirm,
  onClose,
}: {
  title: string;
  children: ComponentChildren;
  action: string;
  danger?: boolean;
  busy?: boolean;
  onConfirm: () => void;
  onClose: () => void;
}) {
  return (
    <Dialog
      title={title}
      onClose={onClose}
      onSubmit={onConfirm}
      size="narrow"
      footer={
        <>
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class={`button ${danger ? "danger" : "primary"}`} disabled={busy}>
            {action}
          </button>
        </>
      }
    >
      {children}
    </Dialog>
  );
}
