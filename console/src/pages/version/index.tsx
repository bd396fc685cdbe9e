/** The page of one version: a workflow's graph, a task's container and template, a launch plan's settings. */

import {
  type Description,
  getVersion,
  type LaunchPlan,
  type Task,
  type Versions,
  type Workflow,
} from "../../api/entities.ts";
import { type Live, useLive } from "../../api/live.ts";
import { Guarded } from "../../frame/Guarded.tsx";
import { type EntityKind, links, type PageProps, type Place } from "../../routes.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox } from "../../ui/ErrorBox.tsx";
import { Chip } from "../../ui/Fields.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { Time } from "../../ui/Time.tsx";
import { DescriptionText } from "../entities/DescriptionText.tsx";
import { useDescription } from "../entities/data.ts";
import { EntityHead, kindText } from "../entities/EntityHead.tsx";
import { executionsFilter } from "../entities/filters.ts";
import { InterfaceOf } from "../entities/InterfaceOf.tsx";
import { type PlanDialogs, usePlanDialogs } from "../entities/planDialogs.tsx";
import { PlanVersion } from "./PlanVersion.tsx";
import { TaskVersion } from "./TaskVersion.tsx";
import { WorkflowGraph } from "./WorkflowGraph.tsx";
import "../entities/style.css";
import "./style.css";

export default function VersionPage({ kind, project, domain, name, version }: PageProps<"version">) {
  const place = { project, domain };
  const read = useVersion(kind, place, name, version);
  const description = useDescription(kind, place, name, version);
  const dialogs = usePlanDialogs(place);
  const missing = read.error?.status === 404;
  return (
    <div class="stack">
      <EntityHead kind={kind} place={place} name={name} version={version}>
        <a class="button" href={links.entity(kind, place, name, { tab: "versions" })}>
          <Icon name="list" /> All versions
        </a>
        <Guarded need="run" place={place} class="button primary" href={links.launch(kind, place, name, { version })}>
          <Icon name="play" /> Launch
        </Guarded>
      </EntityHead>
      {missing ? <Missing place={place} kind={kind} name={name} /> : <ErrorBox error={read.error} />}
      {read.data === undefined && !read.error && <Skeleton />}
      {read.data && (
        <Content {...{ kind, place, name, version, dialogs }} of={read.data} description={description.data} />
      )}
      {dialogs.dialog}
    </div>
  );
}

function useVersion<K extends EntityKind>(kind: K, place: Place, name: string, version: string): Live<Versions[K]> {
  const key = `GetVersion ${kind} ${place.project} ${place.domain} ${name} ${version}`;
  return useLive<Versions[K]>(key, (signal, _, background) =>
    getVersion(kind, place, name, version, { signal, background }),
  );
}

function Missing({ kind, place, name }: { kind: EntityKind; place: Place; name: string }) {
  return (
    <p>
      This version does not exist in {place.project} / {place.domain}. See the{" "}
      <a href={links.entity(kind, place, name, { tab: "versions" })}>versions of {name}</a>.
    </p>
  );
}

interface ContentProps {
  kind: EntityKind;
  place: Place;
  name: string;
  version: string;
  of: Versions[EntityKind];
  description: Description | null | undefined;
  dialogs: PlanDialogs;
}

function Content({ kind, place, name, version, of, description, dialogs }: ContentProps) {
  return (
    <>
      <p class="row muted">
        <span>
          Registered <Time at={of.closure?.created_at} />
        </span>
        {kind === "launch_plan" && (of as LaunchPlan).closure?.state === "ACTIVE" && <Chip>active</Chip>}
        <a href={links.executions(place, { q: executionsFilter(kind, name, version) })}>
          Executions of this {kind === "workflow" ? "version" : kindText(kind).toLowerCase()}
        </a>
      </p>
      <DescriptionText of={description} />
      {kind === "workflow" && <WorkflowGraph workflow={of as Workflow} />}
      {kind === "launch_plan" && <PlanVersion place={place} plan={of as LaunchPlan} ask={dialogs.ask} />}
      <InterfaceOf of={of} />
      {kind === "task" && <TaskVersion task={of as Task} />}
    </>
  );
}
