/** ⌘K: pages, projects, workflows, tasks, launch plans, executions and commands by a few letters. */
import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import { useLive } from "../api/live.ts";
import { navigate } from "../location.ts";
import { rank } from "../model/match.ts";
import { type EntityKind, links, type Place } from "../routes.ts";
import { theme, zone } from "../store.ts";
import { Combobox, type Option } from "../ui/Combobox.tsx";
import { Dialog } from "../ui/Dialog.tsx";
import { closePalette as close, enteredEarly, helpOpen, keepKeysNoMore, paletteText } from "./open.ts";
import { samePage } from "./PlaceSwitch.tsx";
import { place } from "./place.ts";
import { useProjects } from "./projects.ts";
import { SECTIONS } from "./sections.ts";

interface Choice {
  text: string;
  kind: string;
  run: () => void;
}

const NAMES_MAX = 1000;
const SHOWN_MAX = 30;
const EXECUTIONS_MAX = 10;
const TYPING_MS = 200;
const KEPT_MS = 60_000;
const ENTITIES: readonly [EntityKind, "WORKFLOW" | "TASK" | "LAUNCH_PLAN", string][] = [
  ["workflow", "WORKFLOW", "workflow"],
  ["task", "TASK", "task"],
  ["launch_plan", "LAUNCH_PLAN", "launch plan"],
];

const keyOf = ({ kind, text }: Choice): string => `${kind} ${text}`;

function commandChoices(): Choice[] {
  const set = (text: string, run: () => void): Choice => ({ text, kind: "command", run });
  return [
    set("Theme: light", () => (theme.value = "light")),
    set("Theme: dark", () => (theme.value = "dark")),
    set("Theme: as the system", () => (theme.value = "system")),
    set("Times: local", () => (zone.value = "local")),
    set("Times: UTC", () => (zone.value = "utc")),
    set("Times: relative", () => (zone.value = "relative")),
    set("Help and keys", () => (helpOpen.value = true)),
  ];
}

function pageChoices(here: Place | null): Choice[] {
  const go = (text: string, address: string): Choice => ({ text, kind: "page", run: () => navigate(address) });
  const lists = here
    ? [
        ...SECTIONS.map(({ text, list }) => go(text, links.list(here, list))),
        go("Settings of the project", links.list(here, "settings")),
      ]
    : [];
  return [...lists, go("Home", links.home()), go("All projects", links.projects())];
}

/** Read the names of a place, three calls, once a minute. Null until they are read. */
function useNames(here: Place | null): readonly Choice[] | null {
  const { data, error } = useLive<readonly Choice[]>(
    here && `palette ${here.project} ${here.domain}`,
    async (signal) => {
      if (!here) return [];
      const lists = await Promise.all(
        ENTITIES.map(async ([kind, type, shown]) => {
          const path = { resource_type: type, project: here.project, domain: here.domain };
          const query = { limit: NAMES_MAX, "sort_by.key": "name", "sort_by.direction": "ASCENDING" } as const;
          const reply = await api("ListNamedEntities", { path, query }, { signal });
          return (reply.entities ?? []).map((entity): Choice => {
            const name = entity.id?.name ?? "";
            return { text: name, kind: shown, run: () => navigate(links.entity(kind, here, name)) };
          });
        }),
      );
      return lists.flat().filter((one) => !one.text.startsWith(".flytegen"));
    },
    KEPT_MS,
  );
  return data ?? (here && !error ? null : []);
}

/** Find executions whose name holds the text. */
function useExecutions(here: Place | null, text: string): readonly Choice[] {
  const [found, setFound] = useState<readonly Choice[]>([]);
  useEffect(() => {
    setFound([]);
    if (!here || !/^[a-z0-9-]{3,}$/i.test(text)) return undefined;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      const query = { limit: EXECUTIONS_MAX, filters: `contains(execution_name,${text.toLowerCase()})` };
      const path = { project: here.project, domain: here.domain };
      api("ListExecutions", { path, query }, { signal: stop.signal, background: true })
        .then((reply) =>
          setFound(
            (reply.executions ?? []).map(({ id }) => ({
              text: id?.name ?? "",
              kind: "execution",
              run: () => navigate(links.execution(here, id?.name ?? "")),
            })),
          ),
        )
        // The palette works without them; the frame shows that the server does not answer.
        .catch(() => setFound([]));
    }, TYPING_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [here?.project, here?.domain, text]);
  return found;
}

export function Palette() {
  const text = paletteText.value;
  // The dialog focuses the field in an effect of its own, which runs first.
  useLayoutEffect(keepKeysNoMore, []);
  const here = place.value;
  const { data: projects } = useProjects();
  const names = useNames(here);
  const executions = useExecutions(here, text.trim());
  const places = (projects ?? []).flatMap((project) =>
    (project.domains ?? []).map(
      (domain): Choice => ({
        text: `${project.id} / ${domain.id}`,
        kind: "project",
        run: () => navigate(samePage({ project: project.id ?? "", domain: domain.id ?? "" })),
      }),
    ),
  );
  const all = [...pageChoices(here), ...(names ?? []), ...places, ...commandChoices()];
  const ranked = text.trim() === "" ? all : rank(all, text.trim(), (one) => one.text);
  // Executions are found last and are added at the end: nothing that is read or clicked moves.
  const shown = [...ranked.slice(0, SHOWN_MAX), ...executions];
  const options: Option[] = shown.map((one) => ({ value: keyOf(one), label: one.text, detail: one.kind }));
  const run = (key: string) => {
    close();
    [...all, ...executions].find((one) => keyOf(one) === key)?.run();
  };
  // Without the names, the first option could be another one than the reader means.
  useEffect(() => {
    if (!enteredEarly.value || names === null) return;
    enteredEarly.value = false;
    if (shown[0]) run(keyOf(shown[0]));
  }, [names === null]);
  return (
    <Dialog title="Search" onClose={close}>
      <div class="palette">
        <Combobox
          label="Search pages, projects, workflows, tasks, launch plans, executions and commands"
          placeholder="Name of a page, workflow, task, launch plan, project or execution"
          value={text}
          onInput={(typed) => {
            enteredEarly.value = false;
            paletteText.value = typed;
          }}
          options={options}
          onPick={run}
          note={ranked.length > SHOWN_MAX ? `${ranked.length - SHOWN_MAX} more: type to find them` : undefined}
          autofocus
          always
        />
        {names === null && (
          <p class="small muted" role="status">
            Reading names…
          </p>
        )}
        {here && text.trim() && (
          <p class="small muted">
            <a href={links.list(here, "search", { q: text.trim() })} onClick={close}>
              Search everything for “{text.trim()}”
            </a>
          </p>
        )}
      </div>
    </Dialog>
  );
}
