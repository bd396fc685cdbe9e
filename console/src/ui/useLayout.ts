/** The layout of a graph: computed at once where it is small, by a worker where it is large. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { type Layout, type LayoutGraph, layOut } from "../model/layout.ts";
import workerUrl from "./layoutWorker.ts?worker&url";

/** Nodes up to which a layout takes less time than a frame or two. */
const AT_ONCE_MAX = 300;

type Waiting = (layout: Layout) => void;
let worker: Worker | undefined;
let lastId = 0;
const waiting = new Map<number, Waiting>();

/** Trusted Types of browsers that know them; TypeScript's DOM library lacks them. */
interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): string };
}

function started(): Worker {
  if (worker) return worker;
  const trusted = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
  // The address is that of a file of this build, so the policy lets it pass as it is.
  const policy = trusted?.createPolicy("layout-worker", { createScriptURL: (url) => url });
  const made = new Worker(policy ? policy.createScriptURL(workerUrl) : workerUrl, { type: "module" });
  made.addEventListener("message", (event: MessageEvent<{ id: number; layout: Layout }>) => {
    waiting.get(event.data.id)?.(event.data.layout);
    waiting.delete(event.data.id);
  });
  worker = made;
  return made;
}

function count(graph: LayoutGraph): number {
  let nodes = 0;
  for (const node of graph.nodes) nodes += 1 + (node.inside ? count(node.inside) : 0);
  return nodes;
}

/** Return the layout of a graph; the one before it while a new one is computed. shape: changes with the graph. */
export function useLayout(graph: LayoutGraph, shape: string): Layout | undefined {
  const isSmall = useMemo(() => count(graph) <= AT_ONCE_MAX, [shape]);
  const direct = useMemo(() => (isSmall ? layOut(graph) : undefined), [shape]);
  const [computed, setComputed] = useState<Layout | undefined>();
  useEffect(() => {
    if (isSmall) return undefined;
    lastId += 1;
    const id = lastId;
    waiting.set(id, setComputed);
    started().postMessage({ id, graph });
    return () => {
      waiting.delete(id);
    };
  }, [shape]);
  return direct ?? computed;
}
