import { printJson } from "../../api/json.ts";
import { jsonOfLiteral, type Literal } from "../../api/literals.ts";
import { type Slot, signature, type Interface as Typed } from "../../model/signature.ts";

/** The types of an interface in one line, cut where there is no room. */
export function Signature({ of }: { of: Typed | null | undefined }) {
  const text = signature(of);
  return (
    <code class="ellipsis signature" title={text}>
      {text}
    </code>
  );
}

/** An input with what a launch plan gives to it. */
export interface Given extends Slot {
  readonly required?: boolean;
  readonly default?: object | null | undefined;
  readonly fixed?: object | null | undefined;
}

/** Characters of a default value before it is cut; the tooltip has the rest. */
const VALUE_TEXT_MAX = 200;

/** Inputs or outputs as a table: name, type, default or fixed value, description. */
export function Slots({ title, slots }: { title: string; slots: readonly Given[] }) {
  const valued = slots.some((one) => one.default || one.fixed || one.required !== undefined);
  const described = slots.some((one) => one.description);
  return (
    <section class="stack">
      <h3>{title}</h3>
      {slots.length === 0 ? (
        <p class="muted">None</p>
      ) : (
        <div class="table-box">
          <table class="table slots">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Type</th>
                {valued && <th scope="col">Value</th>}
                {described && <th scope="col">Description</th>}
              </tr>
            </thead>
            <tbody>
              {slots.map((one) => (
                <tr key={one.name} data-row>
                  <td class="mono">{one.name}</td>
                  <td class="mono" title={one.type}>
                    {one.type}
                  </td>
                  {valued && <td>{givenValue(one)}</td>}
                  {described && <td title={one.description}>{one.description}</td>}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function givenValue(one: Given) {
  if (one.fixed) {
    return (
      <>
        <Value literal={one.fixed} /> <span class="muted">fixed</span>
      </>
    );
  }
  if (one.default) return <Value literal={one.default} />;
  return <span class="muted">{one.required ? "required" : ""}</span>;
}

function Value({ literal }: { literal: object }) {
  const text = printJson(jsonOfLiteral(literal as Literal));
  return <code title={text}>{text.length > VALUE_TEXT_MAX ? `${text.slice(0, VALUE_TEXT_MAX)}…` : text}</code>;
}
