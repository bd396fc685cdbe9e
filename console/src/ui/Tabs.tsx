import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { stepKey } from "./focus.ts";

export interface Tab {
  key: string;
  label: ComponentChildren;
}

/**
 * Tabs with their panel. The arrow keys, Home and End choose a tab.
 *
 * @param label Name of the list of tabs, for screen readers.
 */
export function Tabs({
  tabs,
  value,
  onChange,
  label,
  children,
}: {
  tabs: readonly Tab[];
  value: string;
  onChange: (key: string) => void;
  label: string;
  children?: ComponentChildren;
}) {
  const id = useId();
  const chosen = Math.max(
    0,
    tabs.findIndex((tab) => tab.key === value),
  );
  const onKeyDown = (event: KeyboardEvent) => {
    const next = stepKey(event, chosen, tabs.length, { horizontal: true });
    const tab = next === null ? undefined : tabs[next];
    if (!tab) return;
    event.preventDefault();
    onChange(tab.key);
    (event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>('[role="tab"]')[next ?? 0]?.focus();
  };
  return (
    <>
      <div class="tabs" role="tablist" aria-label={label} onKeyDown={onKeyDown}>
        {tabs.map((tab, index) => (
          <button
            key={tab.key}
            type="button"
            role="tab"
            id={`${id}-${tab.key}`}
            aria-selected={index === chosen}
            aria-controls={`${id}-panel`}
            tabIndex={index === chosen ? 0 : -1}
            onClick={() => onChange(tab.key)}
          >
            {tab.label}
          </button>
        ))}
      </div>
      <div
        role="tabpanel"
        tabIndex={0}
        id={`${id}-panel`}
        aria-labelledby={`${id}-${tabs[chosen]?.key}`}
        class="tab-panel"
      >
        {children}
      </div>
    </>
  );
}
