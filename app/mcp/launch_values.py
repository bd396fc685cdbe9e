"""The argument `values` of create-workflow-execution: inputs as plain JSON instead of literals."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import common_pb2, execution_pb2
from flyteidl.core import identifier_pb2, types_pb2

from app import errors
from app.mcp import plain_json
from app.mcp.composite_tools import ToolContext

ARGUMENT = "values"
SCHEMA = {
    "type": "object",
    "description": "Inputs by name as plain JSON: numbers, texts, lists, objects; files and tables by their uri. They "
    "are converted to the types that the launch plan declares. `inputs` takes literals instead.",
}


def take(arguments: dict[str, Any]) -> Any:
    """Remove the plain values from the arguments and return them; None where there are none."""
    return arguments.pop(ARGUMENT, None)


async def add(context: ToolContext, request: execution_pb2.ExecutionCreateRequest, values: Any) -> None:
    """Add plain values to the request as literals of the declared types.

    Raises:
        InvalidArgument: A value fits no input; the message begins with its path.
        NotFound: There is no such launch plan or task.
    """
    if not isinstance(values, dict):
        raise errors.InvalidArgument(f"{ARGUMENT}: an object is wanted")
    types = await _types(context, request.spec.launch_plan)
    for name, given in values.items():
        where = f"{ARGUMENT}.{name}"
        if name not in types:
            raise errors.InvalidArgument(f"{where}: there is no such input; known are {', '.join(sorted(types))}")
        if name in request.inputs.literals:
            raise errors.InvalidArgument(f"{where}: it is given in inputs too")
        request.inputs.literals[name].CopyFrom(plain_json.to_literal(types[name], given, where))


async def _types(context: ToolContext, id: identifier_pb2.Identifier) -> dict[str, types_pb2.LiteralType]:
    asked = common_pb2.ObjectGetRequest(id=id)
    if id.resource_type == identifier_pb2.TASK:
        task = await context.call("GetTask", asked)
        inputs = task.closure.compiled_task.template.interface.inputs.variables
        return {name: variable.type for name, variable in inputs.items()}
    asked.id.resource_type = identifier_pb2.LAUNCH_PLAN
    plan = await context.call("GetLaunchPlan", asked)
    return {name: one.var.type for name, one in plan.closure.expected_inputs.parameters.items()}
