import type { ComponentChildren } from "preact";
import { type EntityKind, links, type Place } from "../../routes.ts";
import { Copy } from "../../ui/Copy.tsx";
import { Chip } from "../../ui/Fields.tsx";

const KINDS = {
  workflow: ["Workflow", "workflows", "Workflows"],
  task: ["Task", "tasks", "Tasks"],
  launch_plan: ["Launch plan", "launchPlans", "Launch plans"],
} as const;

/** Return the text of a kind. */
export function kindText(kind: EntityKind): string {
  return KINDS[kind][0];
}

interface Props {
  kind: EntityKind;
  place: Place;
  name: string;
  version?: string;
  archived?: boolean;
  children?: ComponentChildren;
}

/** The head of the page of an entity or of a version: where it is, its name, its actions. */
export function EntityHead({ kind, place, name, version, archived = false, children }: Props) {
  const [text, list, title] = KINDS[kind];
  return (
    <header class="row entity-head">
      <div class="title">
        <nav class="small muted" aria-label="Breadcrumb">
          <a href={links.list(place, list)}>{title}</a>
          {version !== undefined && (
            <>
              {" / "}
              <a href={links.entity(kind, place, name)}>{name}</a>
            </>
          )}
        </nav>
        <div class="row">
          <h1>{version ?? name}</h1>
          <Copy text={version ?? name} label={version === undefined ? "Copy the name" : "Copy the version"} />
          <span class="muted">{version === undefined ? text : `Version of the ${text.toLowerCase()}`}</span>
          {archived && <Chip>archived</Chip>}
        </div>
      </div>
      <div class="row">{children}</div>
    </header>
  );
}
