import type { LaunchPlan, Task, Workflow } from "../../api/entities.ts";
import { type Interface, parameters, slots } from "../../model/signature.ts";
import { interfaceOf } from "./EntityList.tsx";
import { type Given, Slots } from "./Interface.tsx";

/** The inputs and outputs of a version. */
export function InterfaceOf({ of }: { of: Workflow | Task | LaunchPlan }) {
  const { inputs, outputs } = "spec" in of && isPlan(of) ? ofPlan(of) : ofInterface(interfaceOf(of as Workflow | Task));
  return (
    <div class="interface">
      <Slots title="Inputs" slots={inputs} />
      <Slots title="Outputs" slots={outputs} />
    </div>
  );
}

interface Sides {
  inputs: Given[];
  outputs: Given[];
}

function isPlan(version: Workflow | Task | LaunchPlan): version is LaunchPlan {
  return version.id?.resource_type === "LAUNCH_PLAN";
}

function ofInterface(typed: Interface | null | undefined): Sides {
  return { inputs: slots(typed?.inputs), outputs: slots(typed?.outputs) };
}

/** Return the inputs of a launch plan: those that a launch may give, and fixed ones, whose types only the workflow has. */
function ofPlan(plan: LaunchPlan): Sides {
  const expected: Given[] = parameters(plan.closure?.expected_inputs ?? plan.spec?.default_inputs);
  const fixed = Object.entries(plan.spec?.fixed_inputs?.literals ?? {}).map(
    ([name, literal]): Given => ({ name, type: "", description: "", fixed: literal }),
  );
  return { inputs: [...expected, ...fixed], outputs: slots(plan.closure?.expected_outputs) };
}
