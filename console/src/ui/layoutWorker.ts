/** Computes layouts beside the page. */
import { type LayoutGraph, layOut } from "../model/layout.ts";

self.addEventListener("message", (event: MessageEvent<{ id: number; graph: LayoutGraph }>) => {
  self.postMessage({ id: event.data.id, layout: layOut(event.data.graph) });
});
