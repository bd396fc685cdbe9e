/** What a node spent its time on, as a list with bars; and the card with it beside the pointer. */
import { useEffect, useRef, useState } from "preact/hooks";
import { phaseLabel } from "../../model/phases.ts";
import { operationText } from "../../model/spans.ts";
import { segments } from "../../model/timeline.ts";
import { durationText } from "../../model/times.ts";
import type { RunNode } from "../../model/tree.ts";
import { segmentText } from "../../ui/Gantt.tsx";
import { Time } from "../../ui/Time.tsx";
import type { RunStore } from "./store.ts";

/** The pointer rests this long before the card shows, in ms. */
const HOVER_MS = 250;
const CARD_PX = { width: 340, height: 260 };

/** The operations of a node; nothing where the server reports none. */
export function NodeTimes({ node, store }: { node: RunNode; store: RunStore }) {
  void store.version.value;
  const operations = store.operationsOf(node);
  if (operations.length === 0) return null;
  const attempts = new Set(operations.flatMap((one) => one.attempt ?? [])).size;
  const from = Math.min(...operations.map((one) => one.startMs), node.createdMs ?? Number.POSITIVE_INFINITY);
  const ends = operations.map((one) => one.startMs + one.lengthMs);
  const length = Math.max(1, Math.max(...ends, node.endedMs ?? 0) - from);
  return (
    <table class="node-times" aria-label="Where the time went">
      <tbody>
        {operations.map((one, index) => (
          <tr key={index}>
            <th scope="row">{operationText(one, attempts)}</th>
            <td class="number">{durationText(one.lengthMs)}</td>
            <td class="node-times-bar" aria-hidden="true">
              <span
                style={{
                  left: `${(100 * (one.startMs - from)) / length}%`,
                  width: `${(100 * one.lengthMs) / length}%`,
                }}
              />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export interface Hover {
  readonly node: RunNode;
  readonly x: number;
  readonly y: number;
}

/** Return the row under the pointer, and the handlers for its bar. */
export function useHover() {
  const [hover, setHover] = useState<Hover | null>(null);
  const timer = useRef(0);
  const clear = () => {
    window.clearTimeout(timer.current);
    setHover(null);
  };
  useEffect(() => {
    // The rows move under a pointer that rests.
    document.addEventListener("scroll", clear, true);
    return () => {
      window.clearTimeout(timer.current);
      document.removeEventListener("scroll", clear, true);
    };
  }, []);
  return {
    hover,
    handlersOf: (node: RunNode) => ({
      onPointerEnter: (event: PointerEvent) => {
        if (event.pointerType === "touch") return;
        const { clientX: x, clientY: y } = event;
        window.clearTimeout(timer.current);
        timer.current = window.setTimeout(() => setHover({ node, x, y }), HOVER_MS);
      },
      onPointerLeave: clear,
    }),
  };
}

/** The card of the row under the pointer. The panel's tab Events has the same for keyboards. */
export function HoverCard({ hover, store }: { hover: Hover; store: RunStore }) {
  const { node, x, y } = hover;
  const { innerWidth: width, innerHeight: height } = window;
  const left = Math.max(8, Math.min(x + 12, width - CARD_PX.width - 8));
  const above = y + CARD_PX.height > height;
  return (
    <div
      class="hover-card"
      role="tooltip"
      style={{ left: `${left}px`, ...(above ? { bottom: `${height - y + 12}px` } : { top: `${y + 16}px` }) }}
    >
      <strong>{node.name}</strong> <span class="muted">{phaseLabel(node.phase)}</span>
      {node.startedMs !== undefined && (
        <p class="small">
          started <Time at={node.startedMs} />
          {node.endedMs !== undefined && `, ran ${durationText(node.endedMs - node.startedMs)}`}
          {node.createdMs !== undefined && `, queued ${durationText(Math.max(0, node.startedMs - node.createdMs))}`}
        </p>
      )}
      {store.operationsOf(node).length > 0 ? (
        <NodeTimes node={node} store={store} />
      ) : (
        segments(node, store.attemptsOf(node), Date.now()).map((one, index) => (
          <p key={index} class="small">
            {segmentText(one)}
          </p>
        ))
      )}
    </div>
  );
}
