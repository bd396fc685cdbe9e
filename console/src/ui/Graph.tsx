/**
 * A graph as SVG, with pan and zoom. Far out, nodes are drawn without text; nodes outside of the view are left out.
 * The arrow keys walk along edges; `f` fits the graph into the view, `+` and `-` zoom.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Layout, PlacedEdge, PlacedNode } from "../model/layout.ts";
import { Icon } from "./Icon.tsx";
import "./graph.css";

export interface GraphProps {
  readonly layout: Layout;
  readonly label: string;
  readonly selected: string | undefined;
  /** What a screen reader says of a node. */
  nodeLabel(id: string): string;
  /** The class of a node: its phase. */
  nodeClass(id: string): string;
  /** The content of a node, at the origin of its box. */
  renderNode(node: PlacedNode): ComponentChildren;
  /** The text of a group's header. */
  groupTitle(id: string): string;
  isFoldable(id: string): boolean;
  onSelect(id: string): void;
  onFold(id: string): void;
  /** Return the node that an arrow key leads to. */
  neighbour(id: string, direction: "left" | "right" | "up" | "down"): string | undefined;
}

interface View {
  readonly x: number;
  readonly y: number;
  readonly scale: number;
}

const SCALE_MIN = 0.004;
const SCALE_MAX = 2;
/** Scale below which text cannot be read. */
const TEXT_SCALE = 0.35;
/** Scale of the first view of a graph that does not fit. */
const START_SCALE = 0.7;
const MINIMAP_NODES = 200;
const MARGIN_PX = 24;

export function Graph(props: GraphProps) {
  const { layout, selected } = props;
  const frame = useRef<HTMLDivElement>(null);
  const size = useSize(frame);
  const [view, setView] = useState<View | undefined>();
  const fit = () => setView(fitted(layout, size));
  const byId = useMemo(() => new Map(layout.nodes.map((node) => [node.id, node])), [layout]);
  const shown = view ?? first(layout, size, selected === undefined ? undefined : byId.get(selected));
  // A new layout keeps the view, unless the user has not moved yet.
  useEffect(() => {
    const node = selected === undefined ? undefined : byId.get(selected);
    if (node && view) setView((known) => known && brought(known, node, size));
  }, [selected, byId]);
  const zoomBy = (factor: number, x = size.width / 2, y = size.height / 2) => setView(zoomed(shown, factor, x, y));
  const drag = useDrag(shown, setView);
  useWheel(frame, (event, x, y) => zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), x, y));
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key(event, props, byId, fit, zoomBy)) event.preventDefault();
  };
  const inView = visible(layout, shown, size);
  const detailed = shown.scale >= TEXT_SCALE;
  return (
    <div class="graph">
      <div
        class="graph-frame"
        ref={frame}
        tabIndex={0}
        role="application"
        aria-roledescription="graph"
        aria-label={`${props.label}. Arrow keys follow edges, Enter unfolds.`}
        aria-activedescendant={selected !== undefined && byId.has(selected) ? nodeDomId(selected) : undefined}
        onKeyDown={onKeyDown}
        {...drag}
      >
        <svg width={size.width} height={size.height} aria-hidden={layout.nodes.length > 500}>
          <title>{props.label}</title>
          <g transform={`translate(${shown.x} ${shown.y}) scale(${shown.scale})`}>
            {inView.groups.map((node) => (
              <GroupBox key={node.id} node={node} {...props} isDetailed={detailed} />
            ))}
            <path class="edges" d={edgesPath(inView.edges)} />
            {selected !== undefined && (
              <path
                class="edges near"
                d={edgesPath(layout.edges.filter((edge) => edge.from === selected || edge.to === selected))}
              />
            )}
            {inView.nodes.map((node) => (
              <NodeBox key={node.id} node={node} {...props} isDetailed={detailed} />
            ))}
          </g>
        </svg>
      </div>
      <div class="graph-tools">
        <button type="button" class="button small icon-only" onClick={() => zoomBy(1.4)}>
          <Icon name="plus" label="Zoom in" />
        </button>
        <button type="button" class="button small icon-only" onClick={() => zoomBy(1 / 1.4)}>
          <Icon name="minus" label="Zoom out" />
        </button>
        <button type="button" class="button small" onClick={fit}>
          Fit
        </button>
      </div>
      {layout.nodes.length > MINIMAP_NODES && (
        <Minimap layout={layout} view={shown} size={size} setView={setView} nodeClass={props.nodeClass} />
      )}
    </div>
  );
}

interface BoxProps extends GraphProps {
  readonly node: PlacedNode;
  readonly isDetailed: boolean;
}

function NodeBox({ node, isDetailed, selected, ...props }: BoxProps) {
  return (
    <g
      id={nodeDomId(node.id)}
      aria-label={props.nodeLabel(node.id)}
      class={`graph-node ${props.nodeClass(node.id)}${node.id === selected ? " selected" : ""}`}
      transform={`translate(${node.x} ${node.y})`}
      onClick={() => props.onSelect(node.id)}
      onDblClick={() => props.isFoldable(node.id) && props.onFold(node.id)}
    >
      <rect width={node.width} height={node.height} rx="6" />
      {isDetailed && props.renderNode(node)}
      {isDetailed && props.isFoldable(node.id) && (
        <text
          class="graph-fold"
          x={node.width - 14}
          y={node.height / 2 + 5}
          onClick={stop(() => props.onFold(node.id))}
        >
          ▸
        </text>
      )}
    </g>
  );
}

function GroupBox({ node, isDetailed, selected, ...props }: BoxProps) {
  return (
    <g
      id={nodeDomId(node.id)}
      aria-label={props.nodeLabel(node.id)}
      class={`graph-group ${props.nodeClass(node.id)}${node.id === selected ? " selected" : ""}`}
      transform={`translate(${node.x} ${node.y})`}
      onClick={() => props.onSelect(node.id)}
    >
      <rect width={node.width} height={node.height} rx="8" />
      {isDetailed && (
        <>
          <text class="graph-title" x="26" y="17">
            {cut(props.groupTitle(node.id), Math.floor((node.width - 36) / 7))}
          </text>
          <text class="graph-fold" x="10" y="18" onClick={stop(() => props.onFold(node.id))}>
            ▾
          </text>
        </>
      )}
    </g>
  );
}

/** Return a text that fits into a number of characters. */
export function cut(text: string, chars: number): string {
  return text.length <= chars ? text : `${text.slice(0, Math.max(1, chars - 1))}…`;
}

function stop(action: () => void) {
  return (event: MouseEvent) => {
    event.stopPropagation();
    action();
  };
}

function nodeDomId(id: string): string {
  return `graph-${id}`;
}

function key(
  event: KeyboardEvent,
  props: GraphProps,
  byId: ReadonlyMap<string, PlacedNode>,
  fit: () => void,
  zoomBy: (factor: number) => void,
): boolean {
  const { selected, layout } = props;
  const directions: Record<string, "left" | "right" | "up" | "down"> = {
    ArrowLeft: "left",
    ArrowRight: "right",
    ArrowUp: "up",
    ArrowDown: "down",
  };
  const direction = directions[event.key];
  if (direction) {
    const known = selected !== undefined && byId.has(selected) ? selected : undefined;
    const next = known === undefined ? layout.nodes[0]?.id : props.neighbour(known, direction);
    if (next !== undefined) props.onSelect(next);
    return true;
  }
  if (event.key === "Enter" && selected !== undefined && props.isFoldable(selected)) props.onFold(selected);
  else if (event.key === "f") fit();
  else if (event.key === "+" || event.key === "=") zoomBy(1.4);
  else if (event.key === "-") zoomBy(1 / 1.4);
  else return false;
  return true;
}

function edgesPath(edges: readonly PlacedEdge[]): string {
  return edges.map(({ points }) => edgePath(points)).join("");
}

/** Return an edge as a path: horizontal at each point, with a curve in between. */
function edgePath(points: readonly number[]): string {
  let path = `M${round(points[0])} ${round(points[1])}`;
  for (let at = 2; at < points.length; at += 2) {
    const [x0, y0, x1, y1] = [points[at - 2], points[at - 1], points[at], points[at + 1]] as [
      number,
      number,
      number,
      number,
    ];
    const middle = round((x0 + x1) / 2);
    path += `C${middle} ${round(y0)} ${middle} ${round(y1)} ${round(x1)} ${round(y1)}`;
  }
  return path;
}

function round(value: number | undefined): number {
  return Math.round((value ?? 0) * 10) / 10;
}

interface Size {
  readonly width: number;
  readonly height: number;
}

function useSize(frame: { readonly current: HTMLElement | null }): Size {
  const [size, setSize] = useState<Size>({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    const measure = () => setSize({ width: element.clientWidth, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return size;
}

function fitted(layout: Layout, size: Size): View {
  const scale = Math.min(
    1,
    (size.width - 2 * MARGIN_PX) / Math.max(1, layout.width),
    (size.height - 2 * MARGIN_PX) / Math.max(1, layout.height),
  );
  const kept = Math.max(SCALE_MIN, scale);
  return { scale: kept, x: (size.width - layout.width * kept) / 2, y: (size.height - layout.height * kept) / 2 };
}

/** Return the first view: the whole graph where it can be read, else the selected node or the beginning. */
function first(layout: Layout, size: Size, selected: PlacedNode | undefined): View {
  const whole = fitted(layout, size);
  if (whole.scale >= TEXT_SCALE || size.width === 0) return whole;
  const node = selected ?? layout.nodes[0];
  if (!node) return whole;
  const scale = START_SCALE;
  const x = selected ? size.width / 2 - (node.x + node.width / 2) * scale : MARGIN_PX - node.x * scale;
  return { scale, x, y: size.height / 2 - (node.y + node.height / 2) * scale };
}

function zoomed(view: View, factor: number, x: number, y: number): View {
  const scale = Math.min(SCALE_MAX, Math.max(SCALE_MIN, view.scale * factor));
  const ratio = scale / view.scale;
  return { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
}

/** Return the view with a node in it. */
function brought(view: View, node: PlacedNode, size: Size): View {
  const [left, top] = [view.x + node.x * view.scale, view.y + node.y * view.scale];
  const [right, bottom] = [left + node.width * view.scale, top + node.height * view.scale];
  if (left >= 0 && top >= 0 && right <= size.width && bottom <= size.height) return view;
  return {
    ...view,
    x: view.x + size.width / 2 - (left + right) / 2,
    y: view.y + size.height / 2 - (top + bottom) / 2,
  };
}

function visible(layout: Layout, view: View, size: Size) {
  const left = -view.x / view.scale;
  const top = -view.y / view.scale;
  const [right, bottom] = [left + size.width / view.scale, top + size.height / view.scale];
  const inside = (x0: number, y0: number, x1: number, y1: number): boolean =>
    x1 >= left && x0 <= right && y1 >= top && y0 <= bottom;
  const nodes = layout.nodes.filter((node) => inside(node.x, node.y, node.x + node.width, node.y + node.height));
  const edges = layout.edges.filter(({ points }) => {
    const last = points.length - 2;
    let [y0, y1] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (let at = 1; at < points.length; at += 2) {
      y0 = Math.min(y0, points[at] as number);
      y1 = Math.max(y1, points[at] as number);
    }
    return inside(Math.min(points[0] ?? 0, points[last] ?? 0), y0, Math.max(points[0] ?? 0, points[last] ?? 0), y1);
  });
  return { nodes: nodes.filter((node) => !node.isGroup), groups: nodes.filter((node) => node.isGroup), edges };
}

function useDrag(view: View, setView: (view: View) => void) {
  const start = useRef<{ x: number; y: number; view: View } | undefined>();
  return {
    onPointerDown: (event: PointerEvent) => {
      if (event.button === 0) start.current = { x: event.clientX, y: event.clientY, view };
    },
    onPointerMove: (event: PointerEvent) => {
      const from = start.current;
      if (!from || event.buttons === 0) return;
      const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
      // A click moves a little; capture would take the click from the node.
      if (Math.abs(dx) + Math.abs(dy) < 4) return;
      (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
      setView({ ...from.view, x: from.view.x + dx, y: from.view.y + dy });
    },
    onPointerUp: () => {
      start.current = undefined;
    },
  };
}

function useWheel(
  frame: { readonly current: HTMLElement | null },
  onWheel: (event: WheelEvent, x: number, y: number) => void,
): void {
  const latest = useRef(onWheel);
  latest.current = onWheel;
  useEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    const listen = (event: WheelEvent) => {
      event.preventDefault();
      const box = element.getBoundingClientRect();
      latest.current(event, event.clientX - box.left, event.clientY - box.top);
    };
    element.addEventListener("wheel", listen, { passive: false });
    return () => element.removeEventListener("wheel", listen);
  }, []);
}

const MINIMAP_PX = { width: 160, height: 100 };

interface MinimapProps {
  readonly layout: Layout;
  readonly view: View;
  readonly size: Size;
  setView(view: View): void;
  nodeClass(id: string): string;
}

/** The whole graph in a corner, with the part in view; a click goes there. */
function Minimap({ layout, view, size, setView, nodeClass }: MinimapProps) {
  const scale = Math.min(MINIMAP_PX.width / layout.width, MINIMAP_PX.height / layout.height);
  const dots = useMemo(() => {
    const paths = new Map<string, string>();
    for (const node of layout.nodes) {
      if (node.isGroup) continue;
      const name = nodeClass(node.id);
      const width = Math.max(1.5, node.width * scale);
      const height = Math.max(1.5, node.height * scale);
      paths.set(
        name,
        `${paths.get(name) ?? ""}M${round(node.x * scale)} ${round(node.y * scale)}h${round(width)}v${round(height)}h${-round(width)}z`,
      );
    }
    return [...paths];
  }, [layout, nodeClass]);
  const go = (event: MouseEvent) => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / scale, (event.clientY - box.top) / scale];
    setView({ ...view, x: size.width / 2 - x * view.scale, y: size.height / 2 - y * view.scale });
  };
  return (
    <svg class="minimap" width={MINIMAP_PX.width} height={MINIMAP_PX.height} aria-hidden="true" onClick={go}>
      {dots.map(([name, path]) => (
        <path key={name} class={name} d={path} />
      ))}
      <rect
        x={(-view.x / view.scale) * scale}
        y={(-view.y / view.scale) * scale}
        width={(size.width / view.scale) * scale}
        height={(size.height / view.scale) * scale}
      />
    </svg>
  );
}
