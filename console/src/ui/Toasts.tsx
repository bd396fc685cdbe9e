import { announced, closeToast, toasts } from "./announce.ts";
import { Icon } from "./Icon.tsx";

/** The live region and the toasts; the frame shows it once. */
export function Toasts() {
  return (
    <>
      <div class="hidden-text" role="status" aria-live="polite">
        {announced.value}
      </div>
      <div class="toasts">
        {toasts.value.map(({ id, text, failed, action }) => (
          <div key={id} class={failed ? "toast failed" : "toast"}>
            <span>{text}</span>
            {action && (
              <button
                type="button"
                class="button small spread"
                onClick={() => {
                  closeToast(id);
                  action.run();
                }}
              >
                {action.label}
              </button>
            )}
            <button
              type="button"
              class={`button quiet icon-only small${action ? "" : " spread"}`}
              onClick={() => closeToast(id)}
            >
              <Icon name="cross" label="Close the message" />
            </button>
          </div>
        ))}
      </div>
    </>
  );
}
