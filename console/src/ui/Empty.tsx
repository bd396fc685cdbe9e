/** What a page shows where there is nothing, not yet, or not any more. */
import type { ComponentChildren } from "preact";
import { Copy } from "./Copy.tsx";

/** Show that there is nothing, and what to do about it. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** List commands for a terminal, each with a button to copy it. */
export function Commands({ lines }: { lines: readonly string[] }) {
  return (
    <ul class="commands">
      {lines.map((line) => (
        <li key={line}>
          <code>{line}</code>
          <Copy text={line} label="Copy the command" />
        </li>
      ))}
    </ul>
  );
}

/** Grey lines in place of data that takes longer than 200 ms. */
export function Skeleton({ lines = 6 }: { lines?: number }) {
  return (
    <div class="skeleton" aria-busy="true">
      <span class="hidden-text">Loading</span>
      {Array.from({ length: lines }, (_, index) => (
        <i key={index} style={{ width: `${90 - ((index * 17) % 40)}%` }} />
      ))}
    </div>
  );
}
