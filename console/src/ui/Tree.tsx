/**
 * A tree grid that draws only the rows in view. One tab stop: the arrow keys move between rows, and the row that is
 * active is announced by `aria-activedescendant`. The caller draws cells and decides what is unfolded.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

/** A row; `open` is undefined for one without children. */
export interface TreeRow {
  readonly key: string;
  readonly depth: number;
  readonly open: boolean | undefined;
  readonly position: number;
  readonly siblings: number;
  /** What a screen reader says of the row. */
  label(): string;
}

export interface TreeProps<Row extends TreeRow> {
  readonly rows: readonly Row[];
  readonly label: string;
  readonly rowHeight: number;
  /** The key of the selected row. */
  readonly selected: string | undefined;
  /** A row above the others that stays while they scroll. */
  readonly header?: ComponentChildren;
  readonly columns: number;
  renderCells(row: Row): ComponentChildren;
  onSelect(row: Row): void;
  onToggle(row: Row, open: boolean): void;
  onActivate(row: Row): void;
  /** Receives keys that the tree does not use. Returns whether the key was used. */
  onKey?(event: KeyboardEvent, row: Row | undefined): boolean;
}

/** Rows drawn above and below those in view. */
const MARGIN_ROWS = 12;

export function Tree<Row extends TreeRow>(props: TreeProps<Row>) {
  const { rows, rowHeight, selected } = props;
  const frame = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 800 });
  const measure = () => {
    const element = frame.current;
    if (element) setView((known) => sameView(known, { top: element.scrollTop, height: element.clientHeight }));
  };
  useLayoutEffect(measure, []);
  useEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const index = rows.findIndex((row) => row.key === selected);
  useEffect(() => {
    if (index >= 0) scrollToRow(frame.current, index, rowHeight);
  }, [selected, index >= 0]);
  const first = Math.max(0, Math.floor(view.top / rowHeight) - MARGIN_ROWS);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / rowHeight) + MARGIN_ROWS);
  const shown = rows.slice(first, last);
  const onKeyDown = (event: KeyboardEvent) => {
    if (move(event, props, index, Math.max(1, Math.floor(view.height / rowHeight) - 2))) event.preventDefault();
  };
  return (
    <div
      class="tree"
      role="treegrid"
      aria-label={props.label}
      aria-rowcount={rows.length}
      aria-colcount={props.columns}
      aria-activedescendant={index >= first && index < last ? rowId(index) : undefined}
      tabIndex={0}
      ref={frame}
      onScroll={measure}
      onKeyDown={onKeyDown}
    >
      {props.header}
      <div class="tree-body" role="presentation" style={{ height: `${rows.length * rowHeight}px` }}>
        {shown.map((row, offset) => (
          <TreeRowView key={row.key} row={row} index={first + offset} isSelected={row.key === selected} {...props} />
        ))}
      </div>
    </div>
  );
}

interface RowProps<Row extends TreeRow> extends TreeProps<Row> {
  readonly row: Row;
  readonly index: number;
  readonly isSelected: boolean;
}

function TreeRowView<Row extends TreeRow>({ row, index, isSelected, ...props }: RowProps<Row>) {
  const onClick = (event: MouseEvent) => {
    if ((event.target as Element).closest("a, button")) return;
    props.onSelect(row);
  };
  return (
    <div
      id={rowId(index)}
      class={isSelected ? "tree-row selected" : "tree-row"}
      role="row"
      aria-label={row.label()}
      aria-level={row.depth + 1}
      aria-posinset={row.position}
      aria-setsize={row.siblings}
      aria-rowindex={index + 1}
      aria-selected={isSelected}
      aria-expanded={row.open}
      style={{ transform: `translateY(${index * props.rowHeight}px)`, height: `${props.rowHeight}px` }}
      onClick={onClick}
      onDblClick={() => row.open !== undefined && props.onToggle(row, !row.open)}
    >
      {props.renderCells(row)}
    </div>
  );
}

function rowId(index: number): string {
  return `tree-row-${index}`;
}

type View = { top: number; height: number };

/** Keep the state while the same rows are in view. */
function sameView(known: View, next: View): View {
  return known.height === next.height && Math.abs(known.top - next.top) < 40 && next.top > 0 ? known : next;
}

function move<Row extends TreeRow>(event: KeyboardEvent, props: TreeProps<Row>, index: number, page: number): boolean {
  const { rows } = props;
  const row = rows[index];
  if (event.altKey || event.ctrlKey || event.metaKey) return false;
  const go = (to: number): boolean => {
    const target = rows[Math.min(rows.length - 1, Math.max(0, to))];
    if (target) props.onSelect(target);
    return target !== undefined;
  };
  switch (event.key) {
    case "ArrowDown":
      return go(index + 1);
    case "ArrowUp":
      return go(index < 0 ? rows.length - 1 : index - 1);
    case "Home":
      return go(0);
    case "End":
      return go(rows.length - 1);
    case "PageDown":
      return go(index + page);
    case "PageUp":
      return go(index - page);
    case "ArrowRight":
      if (row?.open === false) props.onToggle(row, true);
      else if (row?.open) return go(index + 1);
      return true;
    case "ArrowLeft":
      if (row?.open) props.onToggle(row, false);
      else if (row) return go(parentIndex(rows, index));
      return true;
    case "Enter":
      if (row) props.onActivate(row);
      return row !== undefined;
    default:
      return props.onKey?.(event, row) ?? false;
  }
}

function parentIndex(rows: readonly TreeRow[], index: number): number {
  const depth = rows[index]?.depth ?? 0;
  for (let at = index - 1; at >= 0; at--) if ((rows[at]?.depth ?? 0) < depth) return at;
  return index;
}

function scrollToRow(frame: HTMLElement | null, index: number, rowHeight: number): void {
  if (!frame) return;
  const header = (frame.querySelector(".tree-header") as HTMLElement | null)?.offsetHeight ?? 0;
  const top = index * rowHeight;
  if (top < frame.scrollTop) frame.scrollTop = top;
  else if (top + rowHeight > frame.scrollTop + frame.clientHeight - header) {
    frame.scrollTop = top + rowHeight - frame.clientHeight + header;
  }
}
