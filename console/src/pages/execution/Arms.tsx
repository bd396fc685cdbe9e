/** The arms of a branch: which one ran, its condition, and the values that it read. */
import { api } from "../../api/client.ts";
import type { Literal } from "../../api/literals.ts";
import { useLive } from "../../api/live.ts";
import { armsOf, variableText } from "../../model/branches.ts";
import { isTerminal } from "../../model/phases.ts";
import type { RunNode } from "../../model/tree.ts";
import { Phase } from "../../ui/Phase.tsx";
import { selectNode } from "./selection.ts";
import { pathOf, type RunStore } from "./store.ts";

export function Arms({ node, store }: { node: RunNode; store: RunStore }) {
  const { project, domain, name } = node.execution;
  const key = `GetNodeExecutionData ${project} ${domain} ${name} ${node.id}`;
  const path = { ...pathOf(node.execution), node_id: node.id };
  const data = useLive(node.run ? key : null, (signal) => api("GetNodeExecutionData", { path }, { signal }));
  if (node.run && !store.tree.isLoaded(node.key)) void store.load(node);
  const children = store.tree.children(node);
  const values = Object.entries(data.data?.full_inputs?.literals ?? {});
  return (
    <div class="panel-text stack">
      <ol class="arms">
        {armsOf(node.spec?.node ?? {}).map((arm, index) => {
          const child = children.find((one) => one.specId === arm.node?.id);
          const ran = child?.run !== undefined && child.phase !== "SKIPPED";
          const failed = !arm.node && node.phase === "FAILED";
          return (
            <li key={index} class={ran || failed ? "arm ran" : "arm"}>
              <code>{arm.condition}</code>
              {child ? (
                <span class="row">
                  {ran ? (
                    <button type="button" class="button quiet small" onClick={() => selectNode(child.key)}>
                      {child.name}
                    </button>
                  ) : (
                    <span>{child.name}</span>
                  )}
                  {ran ? (
                    <Phase phase={child.phase} />
                  ) : (
                    <span class="muted">{isTerminal(node.phase) ? "not taken" : "not taken so far"}</span>
                  )}
                </span>
              ) : (
                <span class="muted">
                  {arm.failure === undefined ? (arm.node?.metadata?.name ?? arm.node?.id) : `fails: ${arm.failure}`}
                </span>
              )}
            </li>
          );
        })}
      </ol>
      {values.length > 0 && (
        <>
          <h3>Because</h3>
          <dl class="facts">
            {values.map(([key, literal]) => (
              <Value key={key} name={key} literal={literal} />
            ))}
          </dl>
        </>
      )}
    </div>
  );
}

function Value({ name, literal }: { name: string; literal: Literal }) {
  return (
    <>
      <dt class="mono">{variableText(name)}</dt>
      <dd class="mono">{primitiveText(literal)}</dd>
    </>
  );
}

function primitiveText(literal: Literal): string {
  const inner = literal.scalar?.union?.value ?? literal;
  const primitive = inner.scalar?.primitive ?? {};
  for (const value of Object.values(primitive)) if (value !== null && value !== undefined) return String(value);
  return inner.scalar && "none_type" in inner.scalar ? "none" : "…";
}
