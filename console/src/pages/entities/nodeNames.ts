import { getVersion, type Workflow } from "../../api/entities.ts";
import { useLive } from "../../api/live.ts";
import { ClosureIndex } from "../../model/spec.ts";
import type { Place } from "../../routes.ts";

/** The top nodes of a workflow: ids in order, and what each runs. */
export interface NodeNames {
  readonly order: readonly string[];
  readonly names: ReadonlyMap<string, string>;
}

/** Return the names of the nodes of a version of a workflow; undefined until they are read. */
export function useNodeNames(place: Place, workflow: string | undefined, version: string | undefined) {
  const wanted = workflow !== undefined && version !== undefined && !workflow.startsWith(".flytegen.");
  const key = wanted ? `GetVersion workflow ${place.project} ${place.domain} ${workflow} ${version}` : null;
  const read = useLive<Workflow>(key, (signal, _, background) =>
    getVersion("workflow", place, workflow ?? "", version ?? "", { signal, background }),
  );
  return read.data && namesOf(read.data);
}

const known = new WeakMap<Workflow, NodeNames>();

function namesOf(workflow: Workflow): NodeNames | undefined {
  const closure = workflow.closure?.compiled_workflow;
  if (!closure) return undefined;
  let found = known.get(workflow);
  if (!found) {
    const { nodes } = new ClosureIndex(closure).root;
    const names = nodes.map((node): [string, string] => [node.id, node.name === node.id ? "" : node.name]);
    found = { order: nodes.map((node) => node.id), names: new Map(names) };
    known.set(workflow, found);
  }
  return found;
}
