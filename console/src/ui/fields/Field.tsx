/** One value of any shape: label, control, help and problem. Values inside values are fields, too. */

import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import type { Draft } from "../../api/drafts.ts";
import { type Shape, shapeLabel } from "../../api/shapes.ts";
import { ListField, MapField } from "./collections.tsx";
import { JsonField, KeptField, ObjectField, UnionField } from "./composite.tsx";
import { type FieldProps, useProblems } from "./context.ts";
import { PlaceField } from "./PlaceField.tsx";
import { BooleanField, EnumField, TextField } from "./simple.tsx";
import "./fields.css";

interface Props {
  shape: Shape;
  draft: Draft;
  onChange: (draft: Draft) => void;
  path: string[];
  label: string;
  required?: boolean;
  description?: string;
  /** Shown at the end of the label's line, such as "reset". */
  extra?: ComponentChildren;
  /** Hides the label from sight, where the row names the value already. */
  bare?: boolean;
}

const COMPOSITE = ["list", "map", "object", "union", "boolean"];

/** Return whether a draft is shown by several controls, which a fieldset groups. */
function isGroup(shape: Shape, draft: Draft): boolean {
  return COMPOSITE.includes(shape.kind) && draft.kind !== "json" && draft.kind !== "literal";
}

export function Field({ shape, draft, onChange, path, label, required = false, description, extra, bare }: Props) {
  const id = useId();
  const group = isGroup(shape, draft);
  const found = useProblems(path, !group);
  // A union's value lies at the union's own path and shows the problems itself.
  const problems = shape.kind === "union" && draft.kind === "union" ? [] : found;
  const [nameId, typeId, noteId] = [`${id}-name`, `${id}-type`, `${id}-note`];
  const describedBy = `${typeId} ${noteId}`;
  const control: FieldProps = { shape, draft, onChange, path, label, describedBy, id, required };
  const name = (
    <span id={nameId} class="field-name">
      {label}
    </span>
  );
  const marks = (
    <>
      {required && (
        <span class="field-required" aria-hidden="true" title="required">
          *
        </span>
      )}
      <span id={typeId} class="field-type">
        {shapeLabel(shape)}
      </span>
      {extra && <span class="field-extra">{extra}</span>}
    </>
  );
  const body = (
    <>
      <Control {...control} />
      <div id={noteId} class="field-notes">
        {problems.map((problem) => (
          <p key={problem} class="field-problem">
            {problem}
          </p>
        ))}
        {description && <p class="field-help">{description}</p>}
      </div>
    </>
  );
  const classes = `field${problems.length ? " field-wrong" : ""}${bare ? " field-bare" : ""}`;
  if (group) {
    return (
      <fieldset class={classes} aria-labelledby={nameId} aria-describedby={describedBy}>
        <legend class={bare ? "hidden-text" : "field-head"}>
          {name}
          {marks}
        </legend>
        {body}
      </fieldset>
    );
  }
  return (
    <div class={classes}>
      <div class={bare ? "hidden-text" : "field-head"}>
        <label for={id}>{name}</label>
        {marks}
      </div>
      {body}
    </div>
  );
}

function Control(props: FieldProps) {
  const { shape, draft } = props;
  if (draft.kind === "literal") return <KeptField {...props} />;
  if (draft.kind === "json" || shape.kind === "any") return <JsonField {...props} />;
  switch (shape.kind) {
    case "boolean":
      return <BooleanField {...props} />;
    case "enum":
      return <EnumField {...props} shape={shape} />;
    case "list":
      return <ListField {...props} shape={shape} />;
    case "map":
      return <MapField {...props} shape={shape} />;
    case "object":
      return <ObjectField {...props} shape={shape} />;
    case "union":
      return <UnionField {...props} shape={shape} />;
    case "blob":
    case "dataset":
    case "schema":
      return <PlaceField {...props} />;
    case "none":
      return (
        <output id={props.id} class="field-fixed">
          None
        </output>
      );
    case "error":
    case "unknown":
      return (
        <output id={props.id} class="field-fixed">
          Values of this type cannot be written here.
        </output>
      );
    default:
      return <TextField {...props} />;
  }
}
