import type { ComponentChildren } from "preact";
import { query, setQuery } from "../../location.ts";
import type { View } from "../../model/entityRows.ts";
import { Check } from "../../ui/Fields.tsx";

/** Return the view of a list that the address names: `?q=…&archived=1&sort=run`. */
export function viewOfAddress(): View {
  const { value } = query;
  return {
    text: value.get("q") ?? "",
    archived: value.get("archived") === "1",
    sort: value.get("sort") === "run" ? "run" : "name",
  };
}

interface Props {
  title: string;
  view: View;
  rows: readonly { readonly archived: boolean }[];
  /** Number of rows that are shown. */
  shown: number;
  filters?: ComponentChildren;
  children: ComponentChildren;
}

/** The head of a list of entities: title, count, search, archived ones. */
export function ListFrame({ title, view, rows, shown, filters, children }: Props) {
  const total = rows.filter((row) => row.archived === view.archived).length;
  return (
    <div class="stack entity-list">
      <div class="row list-head">
        <h1>{title}</h1>
        <span class="muted" role="status">
          {shown === total ? total : `${shown} of ${total}`}
        </span>
        <input
          type="search"
          class="input list-search"
          placeholder="Search names"
          aria-label={`Search ${title.toLowerCase()}`}
          data-search
          value={view.text}
          onInput={(event) => setQuery({ q: event.currentTarget.value })}
        />
        {filters}
        <Check on={view.archived} onChange={(on) => setQuery({ archived: on && "1" }, { push: true })}>
          Archived
        </Check>
      </div>
      {children}
    </div>
  );
}
