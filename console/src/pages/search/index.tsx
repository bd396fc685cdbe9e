/** Search a project and domain: names of workflows, tasks and launch plans, versions, executions. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { NamedEntity } from "../../api/entities.ts";
import { type Live, useLive } from "../../api/live.ts";
import { query, setQuery } from "../../location.ts";
import { matches } from "../../model/find.ts";
import { type EntityKind, links, type PageProps, type Place } from "../../routes.ts";
import { Empty, Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Phase } from "../../ui/Phase.tsx";
import { Time } from "../../ui/Time.tsx";
import { firstError, useNames } from "../entities/data.ts";
import { FOUND_MAX, type Found, search } from "./data.ts";
import "./style.css";

/** Time without typing before the server is asked, in ms. */
const TYPING_MS = 300;

export default function SearchPage({ project, domain }: PageProps<"search">) {
  const place = { project, domain };
  const text = query.value.get("q") ?? "";
  const settled = useSettled(text.trim());
  const names: Record<EntityKind, Live<NamedEntity[]>> = {
    workflow: useNames("workflow", place),
    task: useNames("task", place),
    launch_plan: useNames("launch_plan", place),
  };
  const found = useLive<Found>(settled ? `Search ${project} ${domain} ${settled}` : null, (signal, _, background) =>
    search(place, settled, { signal, background }),
  );
  const error = firstError(...Object.values(names), found);
  return (
    <div class="stack search-page">
      <h1>Search</h1>
      <input
        type="search"
        class="input"
        placeholder="Name of a workflow, task, launch plan or execution, or a version"
        aria-label={`Search ${project} / ${domain}`}
        data-search
        autofocus
        value={text}
        onInput={(event) => setQuery({ q: event.currentTarget.value })}
      />
      <ErrorBox error={error} />
      {!text.trim() && <Empty title={`Search ${project} / ${domain}`} />}
      {text.trim() && (
        <Results place={place} text={text.trim()} names={names} found={found.data} failed={Boolean(error)} />
      )}
    </div>
  );
}

/** Return a text once it has not changed for a moment. */
function useSettled(text: string): string {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}

interface ResultsProps {
  place: Place;
  text: string;
  names: Record<EntityKind, Live<NamedEntity[]>>;
  found: Found | undefined;
  failed: boolean;
}

const KINDS: readonly [EntityKind, string][] = [
  ["workflow", "Workflows"],
  ["launch_plan", "Launch plans"],
  ["task", "Tasks"],
];

function Results({ place, text, names, found, failed }: ResultsProps) {
  const named = KINDS.map(([kind, title]) => ({ kind, title, list: namesOf(names[kind].data, text) }));
  const versions = [...(found?.workflows ?? []), ...(found?.tasks ?? [])];
  const executions = found?.executions ?? [];
  const nothing = named.every(({ list }) => list.length === 0) && versions.length + executions.length === 0;
  if (!found && nothing) return failed ? null : <Skeleton />;
  if (nothing) return <Empty title={`Nothing matches “${text}”`} />;
  return (
    <>
      {named.map(({ kind, title, list }) => (
        <Section key={kind} title={title} count={list.length}>
          {list.map((name) => (
            <li key={name}>
              <a href={links.entity(kind, place, name)}>{name}</a>
            </li>
          ))}
        </Section>
      ))}
      <Section title="Versions" count={versions.length}>
        {versions.map((one) => {
          const kind = one.id?.resource_type === "TASK" ? "task" : "workflow";
          const { name = "", version = "" } = one.id ?? {};
          return (
            <li key={`${kind} ${name} ${version}`}>
              <a href={links.version(kind, place, name, version)}>{version}</a>{" "}
              <span class="muted">
                of {kind} {name}
              </span>
            </li>
          );
        })}
      </Section>
      <Section title="Executions" count={executions.length}>
        {executions.map((one) => (
          <li key={one.id?.name} class="row tight">
            <Phase phase={one.closure?.phase} compact />
            <a class="mono" href={links.execution(place, one.id?.name ?? "")}>
              {one.id?.name}
            </a>
            <span class="muted">
              {one.closure?.workflow_id?.name} <Time at={one.closure?.created_at} />
            </span>
          </li>
        ))}
      </Section>
    </>
  );
}

function namesOf(list: readonly NamedEntity[] | undefined, text: string): string[] {
  const names = (list ?? []).map((one) => one.id?.name ?? "").filter((name) => !name.startsWith(".flytegen."));
  return matches(names, text, (name) => name, FOUND_MAX);
}

function Section({ title, count, children }: { title: string; count: number; children: ComponentChildren }) {
  if (count === 0) return null;
  return (
    <section class="card" aria-label={title}>
      <header>
        <h2>{title}</h2>
        <span class="muted small">{count === FOUND_MAX ? `first ${FOUND_MAX}` : count}</span>
      </header>
      <ul class="found">{children}</ul>
    </section>
  );
}
