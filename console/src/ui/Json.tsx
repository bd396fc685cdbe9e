/** A value as a tree that folds, with search and copies. */

import { createContext } from "preact";
import { useContext, useMemo, useState } from "preact/hooks";
import { printJson } from "../api/json.ts";
import { type Matches, nodePath, type Place, searchTree, type TreeNode } from "../model/valueTree.ts";
import { Copy } from "./Copy.tsx";
import "./json.css";

/** Children of one node that are shown at once. */
const CHILDREN_STEP = 100;
/** Characters of a text that are shown before "show all". */
const TEXT_MAX = 600;
/** Levels that are open at first. */
const OPEN_DEPTH = 2;
/** Nodes up to which the search is offered only on demand. */
const SEARCH_FROM = 8;

/** What shows a place: its size, download and preview. Given by pages, which may call the API. */
export type PlaceView = (props: { place: Place }) => preact.JSX.Element | null;

interface Shared {
  matches: Matches | null;
  PlaceView: PlaceView | null;
}

const Tree = createContext<Shared>({ matches: null, PlaceView: null });

interface Props {
  root: TreeNode;
  label: string;
  /** Name and text of further copies, beside JSON. */
  copies?: Array<{ name: string; text: () => string }>;
  placeView?: PlaceView;
}

export function Json({ root, label, copies = [], placeView }: Props) {
  const [words, setWords] = useState("");
  const matches = useMemo(() => (words.trim() ? searchTree(root, words.trim()) : null), [root, words]);
  const children = root.children?.() ?? [];
  const searchable = children.length >= SEARCH_FROM || children.some((child) => child.children);
  const all = [{ name: "JSON", text: () => printJson(root.json(), 2) }, ...copies];
  return (
    <div class="json">
      <div class="json-bar">
        {(searchable || words) && (
          <>
            <input
              type="search"
              class="input json-search"
              placeholder="Search keys and values"
              aria-label={`Search in ${label}`}
              value={words}
              onInput={(event) => setWords(event.currentTarget.value)}
            />
            <span class="json-count" role="status">
              {matches && `${matches.hits.size}${matches.complete ? "" : "+"} found`}
            </span>
          </>
        )}
        <span class="json-copies">
          {all.map(({ name, text }) => (
            <Copy key={name} text={text} label={`Copy ${label} as ${name}`}>
              {name}
            </Copy>
          ))}
        </span>
      </div>
      <Tree.Provider value={{ matches, PlaceView: placeView ?? null }}>
        {root.children ? (
          <Children node={root} path="" depth={0} label={label} />
        ) : (
          <Leaf node={root} hit={false} hideKey={root.key === ""} />
        )}
      </Tree.Provider>
    </div>
  );
}

function Children({ node, path, depth, label }: { node: TreeNode; path: string; depth: number; label?: string }) {
  const { matches } = useContext(Tree);
  const [shown, setShown] = useState(CHILDREN_STEP);
  const all = useMemo(() => node.children?.() ?? [], [node]);
  const visible = matches
    ? all.filter((child) => {
        const at = nodePath(path, child.key);
        return matches.hits.has(at) || matches.open.has(at) || matches.hits.has(path);
      })
    : all;
  return (
    <ul class="json-list" {...(label ? { "aria-label": label } : {})}>
      {visible.slice(0, shown).map((child) => (
        <li key={child.key}>
          <Node node={child} path={nodePath(path, child.key)} depth={depth} />
        </li>
      ))}
      {visible.length > shown && (
        <li>
          <button type="button" class="button small" onClick={() => setShown(shown + CHILDREN_STEP)}>
            Show {Math.min(CHILDREN_STEP, visible.length - shown)} more of {visible.length - shown}
          </button>
        </li>
      )}
    </ul>
  );
}

function Node({ node, path, depth }: { node: TreeNode; path: string; depth: number }) {
  const { matches } = useContext(Tree);
  const [chosen, setChosen] = useState<boolean | null>(null);
  const hit = matches?.hits.has(path) ?? false;
  if (!node.children) return <Leaf node={node} hit={hit} />;
  const open = chosen ?? (matches ? matches.open.has(path) : depth < OPEN_DEPTH - 1);
  return (
    <details
      open={open}
      onToggle={(event) => setChosen(event.currentTarget.open === open ? chosen : event.currentTarget.open)}
    >
      <summary class={hit ? "json-hit" : ""}>
        <span class="json-key">{node.key}</span> <span class="json-type">{node.type}</span>{" "}
        <span class="json-muted">{node.text}</span>
      </summary>
      {open && <Children node={node} path={path} depth={depth + 1} />}
    </details>
  );
}

function Leaf({ node, hit, hideKey }: { node: TreeNode; hit: boolean; hideKey?: boolean }) {
  const { PlaceView } = useContext(Tree);
  const [whole, setWhole] = useState(false);
  const cut = !whole && node.text.length > TEXT_MAX;
  const quoted = node.tone === "text" && node.type === "str";
  const text = cut ? `${node.text.slice(0, TEXT_MAX)}…` : node.text;
  return (
    <div class={`json-leaf${hit ? " json-hit" : ""}`}>
      {!hideKey && <span class="json-key">{node.key}</span>} <span class="json-type">{node.type}</span>{" "}
      <span class={`json-value json-${node.tone}`}>{node.text === "" && quoted ? '""' : text}</span>
      {cut && (
        <button type="button" class="button small" onClick={() => setWhole(true)}>
          Show all {node.text.length.toLocaleString("en")} characters
        </button>
      )}
      {node.place && PlaceView && <PlaceView place={node.place} />}
    </div>
  );
}
