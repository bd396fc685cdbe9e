import { refusal } from "../../frame/roles.ts";
import type { Place } from "../../routes.ts";
import { Switch } from "../../ui/Fields.tsx";
import type { Ask } from "./planDialogs.tsx";

interface Props {
  place: Place;
  name: string;
  /** The active version, null where none is. */
  active: string | null;
  ask: (asked: Ask) => void;
  /** Show the version beside the switch. */
  labelled?: boolean;
}

/** Whether a launch plan is active. Each change asks first. */
export function ActiveSwitch({ place, name, active, ask, labelled = false }: Props) {
  const change = () => ask(active === null ? { what: "activate", name, active } : { what: "deactivate", name, active });
  const reason = refusal("register", place);
  return (
    <Switch
      on={active !== null}
      onChange={change}
      label={`${name} is active`}
      disabled={reason !== undefined}
      title={reason ?? (active === null ? "Activate a version" : `Version ${active} is active`)}
    >
      {labelled && <span>{active === null ? "Not active" : `Active: ${active}`}</span>}
    </Switch>
  );
}
