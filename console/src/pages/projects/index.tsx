/** The projects, with a link for each domain. */
import { useEffect, useState } from "preact/hooks";
import { refresh } from "../../api/live.ts";
import { Guarded } from "../../frame/Guarded.tsx";
import { PROJECTS_KEY, type Project, useProjects } from "../../frame/projects.ts";
import { rank } from "../../model/match.ts";
import { links, type PageProps } from "../../routes.ts";
import { lastPlace } from "../../store.ts";
import { toast } from "../../ui/announce.ts";
import { Empty, Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { type Column, Table } from "../../ui/Table.tsx";
import "../home/style.css";

type Dialogs = typeof import("../settings/ProjectDialogs.tsx");

const COLUMNS: readonly Column<Project>[] = [
  {
    key: "name",
    head: "Project",
    width: "26%",
    cell: (project) => (
      <>
        <a class="project-name" href={links.executions({ project: project.id ?? "", domain: domainOf(project) })}>
          {project.name || project.id}
        </a>
        {project.name && project.name !== project.id && <span class="muted mono small"> {project.id}</span>}
      </>
    ),
  },
  { key: "description", head: "Description", class: "wide", cell: (project) => project.description },
  {
    key: "domains",
    head: "Domains",
    width: "22rem",
    class: "wide",
    cell: (project) => (
      <span class="domains">
        {(project.domains ?? []).map((domain) => (
          <a
            key={domain.id}
            class="button small"
            href={links.executions({ project: project.id ?? "", domain: domain.id ?? "" })}
          >
            {domain.name || domain.id}
          </a>
        ))}
      </span>
    ),
  },
];

/** Return the domain in which a project opens. */
function domainOf(project: Project): string {
  const last = lastPlace.value;
  if (last.project === project.id && last.domain) return last.domain;
  return project.domains?.[0]?.id ?? "development";
}

export default function ProjectsPage(_: PageProps<"projects">) {
  const { data, error } = useProjects();
  const [text, setText] = useState("");
  const [dialogs, setDialogs] = useState<Dialogs | null>(null);
  useEffect(() => {
    document.title = "Projects";
  }, []);
  const create = () =>
    import("../settings/ProjectDialogs.tsx").then(setDialogs, () =>
      toast("The dialog cannot be loaded. Load the page again.", { failed: true }),
    );
  const wanted = text.trim();
  const rows = wanted
    ? rank(data ?? [], wanted, (one) => `${one.id} ${one.name} ${one.description ?? ""}`)
    : (data ?? []);
  return (
    <div class="stack">
      <div class="page-head">
        <h1>Projects</h1>
        <div class="actions">
          <Guarded need="admin" place={{ project: "*", domain: "*" }} class="button" onClick={create}>
            <Icon name="plus" /> New project
          </Guarded>
        </div>
      </div>
      {error && <ErrorBox error={error} onRetry={() => refresh(PROJECTS_KEY)} />}
      {!data && !error && <Skeleton />}
      {data && (
        <input
          class="input search-projects"
          type="search"
          placeholder="Search projects"
          aria-label="Search projects"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      )}
      {data && rows.length === 0 && (
        <Empty title={data.length === 0 ? "There are no projects" : "No project has this name"}>
          {data.length === 0 && <p>Make one with “New project”, or look for archived ones in the settings.</p>}
        </Empty>
      )}
      {rows.length > 0 && (
        <Table label="Projects" columns={COLUMNS} rows={rows} rowKey={(project) => project.id ?? ""} />
      )}
      {dialogs && <dialogs.ProjectDialog onClose={() => setDialogs(null)} onDone={() => refresh(PROJECTS_KEY)} />}
    </div>
  );
}
