/** The cached outputs of tasks: which runs produced them, and their deletion, so that the tasks run again. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { type CachedOutput, type CachedPage, deleteCached, listCached } from "../../api/cachedOutputs.ts";
import { refreshAll, useLive } from "../../api/live.ts";
import { Guarded, guarded } from "../../frame/Guarded.tsx";
import { navigate, query, setQuery } from "../../location.ts";
import { links, type PageProps, type Place } from "../../routes.ts";
import { toast } from "../../ui/announce.ts";
import { Confirm } from "../../ui/Dialog.tsx";
import { Empty, Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox, Notice } from "../../ui/ErrorBox.tsx";
import { Chip } from "../../ui/Fields.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { Menu } from "../../ui/Menu.tsx";
import { type Column, Table } from "../../ui/Table.tsx";
import { Time } from "../../ui/Time.tsx";
import { useNames } from "../entities/data.ts";
import { useAction } from "../entities/useAction.ts";
import "../entities/style.css";

/** Entries that are deleted: those of a task, or with a version only that cache version. */
interface Chosen {
  readonly task: string;
  readonly version: string;
}

export default function CachePage({ project, domain }: PageProps<"cache">) {
  const place = { project, domain };
  const task = query.value.get("task") ?? "";
  const read = useEntries(place, task);
  const [chosen, setChosen] = useState<Chosen>();
  const columns = useMemo(() => columnsOf(place, setChosen), [project, domain]);
  return (
    <div class="stack entity-list">
      <div class="row list-head">
        <h1>Cached outputs</h1>
        <TaskField place={place} task={task} />
        {task && (
          <Guarded
            need="admin"
            place={place}
            class="button"
            onClick={() => setChosen({ task, version: "" })}
            disabled={read.entries.length === 0}
          >
            Delete all of this task…
          </Guarded>
        )}
      </div>
      <p class="muted">
        A task with a cache is not run again for the same inputs: a run takes the outputs of the run below.
      </p>
      <ErrorBox error={read.error} />
      {read.first === undefined && !read.error && <Skeleton />}
      {read.first === null && <Notice>This server does not list cached outputs.</Notice>}
      {read.first && read.entries.length === 0 && (
        <Empty title={task ? `Nothing is cached of ${task}` : "Nothing is cached here"}>
          <p>
            Give a task a cache with <code>@task(cache=True, cache_version="1")</code> and run it.
          </p>
        </Empty>
      )}
      {read.entries.length > 0 && (
        <Table
          label="Cached outputs"
          columns={columns}
          rows={read.entries}
          rowKey={(one) => `${one.task}\n${one.version}\n${one.tag}`}
          onOpen={(one) => one.execution && navigate(producer(place, one))}
          onEnd={read.more}
        />
      )}
      {chosen && <DeleteDialog place={place} chosen={chosen} onClose={() => setChosen(undefined)} />}
    </div>
  );
}

/** Read the first page of the entries, and the following ones on demand. */
function useEntries(place: Place, task: string) {
  const key = `ListCachedOutputs ${place.project} ${place.domain} ${task}`;
  const live = useLive<CachedPage | null>(key, (signal, _, background) =>
    listCached(place, task, "", { signal, background }),
  );
  const [rest, setRest] = useState<CachedPage>();
  useEffect(() => setRest(undefined), [live.data]);
  const load = useAction(async () => {
    const page = await listCached(place, task, token, {});
    if (page) setRest({ entries: [...(rest?.entries ?? []), ...page.entries], token: page.token });
  });
  const token = (rest ?? live.data)?.token ?? "";
  const entries = useMemo(() => [...(live.data?.entries ?? []), ...(rest?.entries ?? [])], [live.data, rest]);
  const more = token && !load.running && !load.error ? () => void load.run() : undefined;
  return { first: live.data, entries, error: live.error ?? load.error, more };
}

function TaskField({ place, task }: { place: Place; task: string }) {
  const names = useNames("task", place);
  if (task) return <Chip onRemove={() => setQuery({ task: null })}>task: {task}</Chip>;
  return (
    <select
      class="select list-search"
      aria-label="Task"
      value=""
      onChange={(event) => setQuery({ task: event.currentTarget.value }, { push: true })}
    >
      <option value="">All tasks</option>
      {(names.data ?? []).map((one) => (
        <option key={one.id?.name} value={one.id?.name}>
          {one.id?.name}
        </option>
      ))}
    </select>
  );
}

function DeleteDialog({ place, chosen, onClose }: { place: Place; chosen: Chosen; onClose: () => void }) {
  const { task, version } = chosen;
  const remove = useAction(async () => {
    const count = await deleteCached(place, task, version);
    refreshAll("ListCachedOutputs");
    toast(`Deleted ${count} cached ${count === 1 ? "output" : "outputs"}`);
    onClose();
  });
  return (
    <Confirm
      title="Delete cached outputs"
      action="Delete"
      danger
      busy={remove.running}
      onConfirm={() => void remove.run()}
      onClose={onClose}
    >
      <div class="stack">
        <p>
          {version ? `Entries of ${task} with cache version ${version}` : `All entries of ${task}`} are deleted. The
          next run computes the outputs again. The executions keep the outputs that they have.
        </p>
        {remove.error && <ErrorBox error={remove.error} />}
      </div>
    </Confirm>
  );
}

function producer(place: Place, one: CachedOutput): string {
  return links.execution(place, one.execution, { node: one.node });
}

function columnsOf(place: Place, choose: (chosen: Chosen) => void): Column<CachedOutput>[] {
  return [
    {
      key: "task",
      head: "Task",
      class: "wide",
      cell: (one) => (
        <a class="main" href={links.entity("task", place, one.task)} title={one.task}>
          {one.task}
        </a>
      ),
    },
    { key: "version", head: "Cache version", width: "10rem", label: "Version", cell: (one) => one.version },
    {
      key: "by",
      head: "Produced by",
      label: "By",
      // A client of DataCatalog may name no execution.
      cell: (one) =>
        one.execution && (
          <a class="mono" href={producer(place, one)}>
            {one.execution} {one.node}
          </a>
        ),
    },
    { key: "at", head: "Stored", width: "11rem", label: "Stored", cell: (one) => <Time at={one.updated_at} /> },
    {
      key: "actions",
      head: "",
      width: "3rem",
      class: "actions",
      cell: (one) => (
        <Menu
          button={<Icon name="dots" />}
          label={`Actions on ${one.task} ${one.version}`}
          class="button quiet small icon-only"
          items={guarded("admin", place, [
            {
              label: `Delete cache version ${one.version}…`,
              onSelect: () => choose({ task: one.task, version: one.version }),
            },
            { label: "Delete all of this task…", onSelect: () => choose({ task: one.task, version: "" }) },
          ])}
        />
      ),
    },
  ];
}
