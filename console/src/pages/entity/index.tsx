/** The page of a workflow, task or launch plan: description, schedule, executions, versions, launch plans, interface. */
import { Guarded, guarded } from "../../frame/Guarded.tsx";
import { query, setQuery } from "../../location.ts";
import { links, type PageProps } from "../../routes.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { Menu } from "../../ui/Menu.tsx";
import { Tabs } from "../../ui/Tabs.tsx";
import { archive } from "../entities/archive.ts";
import { DescriptionText } from "../entities/DescriptionText.tsx";
import { firstError, useActivePlan, useDescription, useNamedEntity, useNewestVersion } from "../entities/data.ts";
import { EntityHead, kindText } from "../entities/EntityHead.tsx";
import { EntityRuns } from "../entities/EntityRuns.tsx";
import { InterfaceOf } from "../entities/InterfaceOf.tsx";
import { PlansOf } from "../entities/PlansOf.tsx";
import { usePlanDialogs } from "../entities/planDialogs.tsx";
import { Versions } from "../entities/Versions.tsx";
import { Numbers } from "./Numbers.tsx";
import { PlanState } from "./PlanState.tsx";
import "../entities/style.css";

type TabName = "executions" | "versions" | "plans" | "numbers" | "interface";

export default function EntityPage({ kind, project, domain, name }: PageProps<"entity">) {
  const place = { project, domain };
  const named = useNamedEntity(kind, place, name);
  const newest = useNewestVersion(kind, place, name);
  const description = useDescription(kind, place, name);
  const active = useActivePlan(place, kind === "launch_plan" ? name : null);
  const { ask, dialog } = usePlanDialogs(place);
  const archived = named.data?.metadata?.state === "NAMED_ENTITY_ARCHIVED";
  const activeVersion = active.data?.id?.version ?? null;
  const chosen = (query.value.get("tab") ?? "executions") as TabName;
  if (newest.data === null) {
    return (
      <div class="stack">
        <h1>
          There is no {kindText(kind).toLowerCase()} {name}
        </h1>
        <p>
          {project} / {domain} has no version of this name.
        </p>
        <p>
          <a href={links.list(place, "search", { q: name })}>Search the project</a>
        </p>
      </div>
    );
  }
  return (
    <div class="stack">
      <EntityHead kind={kind} place={place} name={name} archived={archived}>
        {kind === "workflow" && (
          <a class="button" href={links.grid(place, name)}>
            <Icon name="grid" /> Run grid
          </a>
        )}
        <Guarded
          need="run"
          place={place}
          class="button primary"
          href={links.launch(kind, place, name, { version: activeVersion })}
        >
          <Icon name="play" /> Launch
        </Guarded>
        <Menu
          button={<Icon name="dots" />}
          label={`More about ${name}`}
          class="button icon-only"
          items={[
            ...(kind === "task" ? [{ label: "Cached outputs", href: links.list(place, "cache", { task: name }) }] : []),
            ...guarded("register", place, [
              {
                label: archived ? "Take out of the archive" : "Archive",
                onSelect: () => void archive(kind, place, name, !archived),
              },
            ]),
          ]}
        />
      </EntityHead>
      <ErrorBox error={firstError(newest, named, description, active)} />
      {named.data?.metadata?.description && <p class="description">{named.data.metadata.description}</p>}
      <DescriptionText of={description.data} />
      {kind === "launch_plan" && active.data !== undefined && newest.data && (
        <PlanState place={place} name={name} active={active.data} newest={newest.data} ask={ask} />
      )}
      <Tabs
        label={`About ${name}`}
        tabs={tabsOf(kind)}
        value={chosen}
        onChange={(tab) => setQuery({ tab: tab !== "executions" && tab })}
      >
        {chosen === "executions" && <EntityRuns kind={kind} place={place} name={name} />}
        {chosen === "versions" && <Versions {...{ kind, place, name, ask }} active={activeVersion} />}
        {chosen === "plans" && <PlansOf place={place} workflow={name} ask={ask} />}
        {chosen === "numbers" && <Numbers kind={kind} place={place} name={name} />}
        {chosen === "interface" && (newest.data ? <InterfaceOf of={active.data ?? newest.data} /> : <Skeleton />)}
      </Tabs>
      {dialog}
    </div>
  );
}

function tabsOf(kind: PageProps<"entity">["kind"]): { key: TabName; label: string }[] {
  return [
    { key: "executions", label: "Executions" },
    { key: "versions", label: "Versions" },
    ...(kind === "workflow" ? [{ key: "plans" as const, label: "Launch plans" }] : []),
    { key: "numbers", label: "Numbers" },
    { key: "interface", label: "Inputs and outputs" },
  ];
}
