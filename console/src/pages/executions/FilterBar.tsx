/** Filters as tokens, and a field that completes keys and values. */
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../../api/client.ts";
import {
  type FilterKey,
  filtersText,
  KEYS,
  parseFilters,
  type Token,
  tokenText,
  withToken,
  wordsOf,
} from "../../api/filters.ts";
import { rank } from "../../model/match.ts";
import type { Run } from "../../model/runs.ts";
import type { Place } from "../../routes.ts";
import { Combobox, type Option } from "../../ui/Combobox.tsx";
import { Chip } from "../../ui/Fields.tsx";

const OPTIONS_MAX = 12;
const NAMES_MAX = 1000;
const NAMED: Partial<Record<FilterKey, "WORKFLOW" | "LAUNCH_PLAN" | "TASK">> = {
  workflow: "WORKFLOW",
  lp: "LAUNCH_PLAN",
  task: "TASK",
};

interface FilterBarProps {
  place: Place;
  tokens: readonly Token[];
  onChange: (tokens: readonly Token[]) => void;
  /** Rows whose users, versions and clusters are suggested. */
  rows: readonly Run[];
  inputRef: (element: HTMLInputElement | null) => void;
}

export function FilterBar({ place, tokens, onChange, rows, inputRef }: FilterBarProps) {
  const [text, setText] = useState("");
  const [, minus = "", key = "", part = ""] = /^(-?)([a-z]*):?(.*)$/s.exec(text) ?? [];
  const typed = text.includes(":") && Object.hasOwn(KEYS, key) ? (key as FilterKey) : null;
  const names = useNames(place, typed);
  const options = typed ? valueOptions(typed, part, minus, names, rows) : keyOptions(text);
  const add = (written: string) => {
    const added = parseFilters(written);
    if (added.length === 0) return;
    setText("");
    onChange(added.reduce<readonly Token[]>((all, token) => withToken(all, token), tokens));
  };
  return (
    <div class="filters">
      {tokens.map((token) => (
        <Chip
          key={tokenText(token)}
          removeLabel={`Remove the filter ${tokenText(token)}`}
          onRemove={() => onChange(tokens.filter((one) => one !== token))}
        >
          <TokenText token={token} />
        </Chip>
      ))}
      <Combobox
        label="Add a filter"
        placeholder={tokens.length > 0 ? "Add a filter" : "Filter: phase:failed workflow:train after:24h"}
        value={text}
        onInput={setText}
        options={options}
        onPick={(value) => (value.endsWith(":") ? setText(value) : add(value))}
        onEnter={add}
        inputClass="filter-input"
        inputRef={inputRef}
        onKeyDown={(event) => {
          if (event.key === "Backspace" && text === "" && tokens.length > 0) onChange(tokens.slice(0, -1));
          if (event.key === "Escape") (event.target as HTMLElement).blur();
        }}
      />
    </div>
  );
}

function TokenText({ token }: { token: Token }) {
  const exact = token.values.every((value) => value.startsWith("="));
  const values = token.values.map((value) => value.replace(/^=/, "")).join(", ");
  const isName = KEYS[token.key].kind === "name";
  const relation = isName ? (exact ? "is" : "has") : "";
  return (
    <>
      <span class="muted">
        {token.exclude && "not "}
        {token.key} {relation}
      </span>{" "}
      {values}
    </>
  );
}

/** Suggest keys for a word that has none yet, and what the word may mean. */
function keyOptions(text: string): Option[] {
  const word = text.replace(/^-/, "").trim();
  const minus = text.startsWith("-") ? "-" : "";
  const keys = Object.keys(KEYS) as FilterKey[];
  const found = keys.filter((key) => key.startsWith(word));
  const meant: Option[] = word
    ? [
        {
          value: filtersText([{ key: "workflow", values: [word], exclude: minus !== "" }]),
          detail: "in the workflow's name",
        },
        {
          value: filtersText([{ key: "name", values: [word], exclude: minus !== "" }]),
          detail: "in the execution's name",
        },
      ]
    : [];
  const listed = found.map((key) => ({ value: `${minus}${key}:`, detail: KEYS[key].hint }));
  return [...listed, ...meant].slice(0, OPTIONS_MAX + 4);
}

function valueOptions(
  key: FilterKey,
  part: string,
  minus: string,
  names: readonly string[],
  rows: readonly Run[],
): Option[] {
  const whole = part.startsWith("=");
  const wanted = part.replace(/^=/, "").replace(/"/g, "");
  const fromRows: Partial<Record<FilterKey, (run: Run) => string>> = {
    user: (run) => run.user,
    version: (run) => run.entity.version,
  };
  const read = fromRows[key];
  const seen = read ? [...new Set(rows.map(read).filter(Boolean))] : [];
  const values = [...(key === "user" ? ["me"] : []), ...wordsOf(key), ...names, ...seen];
  const fitting = wanted ? rank(values, wanted, (one) => one) : values;
  const exact = NAMED[key] !== undefined;
  const options = fitting.slice(0, OPTIONS_MAX).map((value) => ({
    value: minus + tokenText({ key, values: [exact ? `=${value}` : value], exclude: false }),
    label: value,
  }));
  if (exact && wanted && !whole)
    options.unshift({ value: minus + tokenText({ key, values: [wanted], exclude: false }), label: `has “${wanted}”` });
  return options;
}

/** Read the names that a key completes, once per place and key. */
function useNames(place: Place, key: FilterKey | null): readonly string[] {
  const cache = useRef(new Map<string, readonly string[]>());
  const type = key && NAMED[key];
  const name = `${place.project} ${place.domain} ${type}`;
  const [, setLoaded] = useState("");
  useEffect(() => {
    if (!type || cache.current.has(name)) return undefined;
    const stop = new AbortController();
    const path = { resource_type: type, project: place.project, domain: place.domain };
    const query = { limit: NAMES_MAX, "sort_by.key": "name", "sort_by.direction": "ASCENDING" } as const;
    api("ListNamedEntities", { path, query }, { signal: stop.signal, background: true })
      .then((reply) => {
        const found = (reply.entities ?? []).map((entity) => entity.id?.name ?? "");
        cache.current.set(
          name,
          found.filter((one) => one && !one.startsWith(".flytegen")),
        );
        setLoaded(name);
      })
      // The field works without suggestions.
      .catch(() => cache.current.delete(name));
    return () => stop.abort();
  }, [name]);
  return (type && cache.current.get(name)) || [];
}
