/**
 * A table of rows of one height, one tab stop, with windowing for thousands of rows.
 *
 * Keys within the table: j/k and arrows move, Home/End/PageUp/PageDown jump, Enter opens, → and ← walk through the links
 * and buttons of a row, x or Space selects, shift-x selects up to the last selected row.
 */
import { type ComponentChildren, Fragment } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { focusable, isTyping } from "./focus.ts";
import { Icon } from "./Icon.tsx";
import { useWindow } from "./window.ts";

export interface Column<T> {
  key: string;
  head: ComponentChildren;
  cell: (row: T) => ComponentChildren;
  /** CSS width; columns without one share the rest. */
  width?: string;
  class?: string;
  /** Shown before the value where rows are blocks on a narrow screen. */
  label?: string;
  sortable?: boolean;
}

export interface Sort {
  key: string;
  descending: boolean;
}

export interface Selection {
  selected: ReadonlySet<string>;
  onChange: (selected: ReadonlySet<string>) => void;
}

interface TableProps<T> {
  /** Name of the table for screen readers. */
  label: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string;
  /** Name of a row, for its checkbox. */
  rowName?: (row: T) => string;
  /** Enter, or a click beside links and buttons. */
  onOpen?: (row: T) => void;
  selection?: Selection;
  sort?: Sort;
  onSort?: (sort: Sort) => void;
  /** The last row comes near. */
  onEnd?: () => void;
  /** Further keys; return true for one that was used. `row` is the row with the focus. */
  onKey?: (event: KeyboardEvent, row: T) => boolean;
  rowClass?: (row: T) => string | undefined;
  /** A second line below a row, drawn as a row of its own; only for tables that are drawn whole. */
  below?: (row: T) => ComponentChildren;
}

const ROW_PX = 36;
const PAGE_ROWS = 15;

export function Table<T>(props: TableProps<T>) {
  const { label, columns, rows, rowKey, onOpen, selection, sort, onSort, below } = props;
  const body = useRef<HTMLTableSectionElement>(null);
  const [active, setActive] = useState<string | null>(null);
  const wantsFocus = useRef(false);
  const anchor = useRef<string | null>(null);
  const height = useRowHeight(body, rows.length);
  const { start, end } = useWindow(body, rows.length, height, props.onEnd);
  const index = useMemo(() => new Map(rows.map((row, at) => [rowKey(row), at])), [rows]);
  const activeAt = active === null ? -1 : (index.get(active) ?? -1);
  const tabStop = activeAt >= start && activeAt < end ? activeAt : start;

  // One tab stop: controls within rows are reached by → and ←.
  useLayoutEffect(() => {
    for (const control of body.current?.querySelectorAll<HTMLElement>("a, button, input, select") ?? [])
      control.tabIndex = -1;
  });
  useLayoutEffect(() => {
    if (!wantsFocus.current || activeAt < 0) return;
    const row = body.current?.querySelector<HTMLElement>(`tr[data-row="${activeAt}"]`);
    if (!row) return;
    wantsFocus.current = false;
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  });

  const move = (to: number) => {
    const at = Math.min(rows.length - 1, Math.max(0, to));
    const row = rows[at];
    if (row === undefined) return;
    setActive(rowKey(row));
    wantsFocus.current = true;
    const top = (body.current?.getBoundingClientRect().top ?? 0) + at * height;
    if (at < start || at >= end) window.scrollBy(0, top - window.innerHeight / 2);
  };
  const toggle = (key: string, range: boolean) => {
    if (!selection) return;
    const next = new Set(selection.selected);
    const from = range && anchor.current !== null ? index.get(anchor.current) : undefined;
    const to = index.get(key);
    if (from !== undefined && to !== undefined)
      for (const row of rows.slice(Math.min(from, to), Math.max(from, to) + 1)) next.add(rowKey(row));
    else if (!next.delete(key)) next.add(key);
    anchor.current = key;
    selection.onChange(next);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (isTyping(event) || event.altKey || event.ctrlKey || event.metaKey) return;
    const row = (event.target as HTMLElement).closest<HTMLElement>("tr[data-row]");
    const at = Number(row?.dataset.row ?? -1);
    const data = rows[at];
    if (!row || data === undefined) return;
    const onControl = event.target !== row;
    const moves: Record<string, number> = {
      j: at + 1,
      ArrowDown: at + 1,
      k: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: rows.length - 1,
      PageDown: at + PAGE_ROWS,
      PageUp: at - PAGE_ROWS,
    };
    const to = moves[event.key];
    if (to !== undefined) move(to);
    else if (event.key === "ArrowRight" || event.key === "ArrowLeft") walkControls(row, event.key === "ArrowRight");
    else if (event.key === "Escape" && onControl) row.focus();
    else if (event.key === "Enter" && !onControl && onOpen) onOpen(data);
    else if (event.key.toLowerCase() === "x" && selection) toggle(rowKey(data), event.shiftKey);
    else if (event.key === " " && !onControl && selection) toggle(rowKey(data), event.shiftKey);
    else if (!props.onKey?.(event, data)) return;
    event.preventDefault();
    event.stopPropagation();
  };
  const onRowClick = (event: MouseEvent, row: T) => {
    if (!onOpen || (event.target as HTMLElement).closest("a, button, input, label, [popover], dialog")) return;
    if (window.getSelection()?.type === "Range") return;
    onOpen(row);
  };
  const spacer = (rowsLeft: number) =>
    rowsLeft > 0 && (
      <tr class="spacer" aria-hidden="true">
        <td colSpan={columns.length + 1} style={{ height: `${rowsLeft * height}px` }} />
      </tr>
    );
  return (
    <div class="table-box">
      <table
        class="table"
        role="grid"
        aria-label={label}
        aria-rowcount={rows.length + 1}
        aria-multiselectable={selection ? true : undefined}
      >
        <Head {...{ columns, rows, rowKey, selection, sort, onSort }} />
        <tbody ref={body} role="rowgroup" onKeyDown={onKeyDown}>
          {spacer(start)}
          {rows.slice(start, end).map((row, offset) => {
            const at = start + offset;
            const key = rowKey(row);
            const isSelected = selection?.selected.has(key);
            return (
              <Fragment key={key}>
                <tr
                  role="row"
                  data-row={at}
                  aria-rowindex={at + 2}
                  aria-selected={selection ? isSelected : undefined}
                  tabIndex={at === tabStop ? 0 : -1}
                  class={props.rowClass?.(row)}
                  onFocus={() => setActive(key)}
                  onClick={(event) => onRowClick(event, row)}
                >
                  {selection && (
                    <td role="gridcell">
                      <input
                        type="checkbox"
                        checked={isSelected}
                        aria-label={`Select ${props.rowName?.(row) ?? key}`}
                        onClick={(event) => toggle(key, event.shiftKey)}
                      />
                    </td>
                  )}
                  {columns.map((column) => (
                    <td key={column.key} role="gridcell" class={column.class} data-label={column.label}>
                      {column.cell(row)}
                    </td>
                  ))}
                </tr>
                {below?.(row)}
              </Fragment>
            );
          })}
          {spacer(rows.length - end)}
        </tbody>
      </table>
    </div>
  );
}

function walkControls(row: HTMLElement, forward: boolean): void {
  const stops = [row, ...focusable(row)];
  const at = stops.indexOf(document.activeElement as HTMLElement);
  stops[Math.min(stops.length - 1, Math.max(0, at + (forward ? 1 : -1)))]?.focus();
}

function useRowHeight(body: { current: HTMLElement | null }, count: number): number {
  const [height, setHeight] = useState(ROW_PX);
  useEffect(() => {
    const row = body.current?.querySelector<HTMLElement>("tr[data-row]");
    if (row && row.offsetHeight > 0) setHeight(row.offsetHeight);
  }, [count > 0]);
  return height;
}

type HeadProps<T> = Pick<TableProps<T>, "columns" | "rows" | "rowKey" | "selection" | "sort" | "onSort">;

function Head<T>({ columns, rows, rowKey, selection, sort, onSort }: HeadProps<T>) {
  const all = selection && rows.length > 0 && rows.every((row) => selection.selected.has(rowKey(row)));
  return (
    <thead role="rowgroup">
      <tr role="row">
        {selection && (
          <th role="columnheader" scope="col" style={{ width: "2.25rem" }}>
            <input
              type="checkbox"
              aria-label="Select all rows"
              checked={all}
              indeterminate={!all && selection.selected.size > 0}
              onChange={() => selection.onChange(new Set(all ? [] : rows.map(rowKey)))}
            />
          </th>
        )}
        {columns.map(({ key, head, width, class: className, sortable }) => {
          const sorted = sort?.key === key;
          const order = sorted ? (sort.descending ? "descending" : "ascending") : undefined;
          return (
            <th
              key={key}
              role="columnheader"
              scope="col"
              class={className}
              aria-sort={order}
              style={width ? { width } : undefined}
            >
              {sortable && onSort ? (
                <button type="button" onClick={() => onSort({ key, descending: !(sorted && sort.descending) })}>
                  {head}
                  {sorted && <Icon name={sort.descending ? "chevron-down" : "chevron-up"} size={12} />}
                </button>
              ) : (
                head
              )}
            </th>
          );
        })}
      </tr>
    </thead>
  );
}
