"""Inputs of a launch as plain JSON: `values`, beside the literals that the API has."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import common_pb2, execution_pb2
from flyteidl.core import identifier_pb2, types_pb2

from app import errors
from app.mcp import plain
from app.mcp.inquiries import Desk

ARGUMENT = "values"
SCHEMA = {
    "type": "object",
    "description": "Inputs by name as plain JSON, converted to the types that the launch plan declares: numbers, "
    "texts, lists, objects; files and tables by their uri. Instead of `inputs`, which takes literals.",
}


def taken(arguments: dict[str, Any]) -> Any:
    """The plain values, taken out of the arguments; None where there are none."""
    return arguments.pop(ARGUMENT, None)


async def add(desk: Desk, request: execution_pb2.ExecutionCreateRequest, values: Any) -> None:
    """Put plain values into the request as literals. errors: INVALID_ARGUMENT naming the value; NOT_FOUND"""
    if not isinstance(values, dict):
        raise errors.InvalidArgument(f"{ARGUMENT}: an object is wanted")
    types = await _types(desk, request.spec.launch_plan)
    for name, given in values.items():
        where = f"{ARGUMENT}.{name}"
        if name not in types:
            raise errors.InvalidArgument(f"{where}: there is no such input; known are {', '.join(sorted(types))}")
        if name in request.inputs.literals:
            raise errors.InvalidArgument(f"{where}: it is given in inputs too")
        request.inputs.literals[name].CopyFrom(plain.literal(types[name], given, where))


async def _types(desk: Desk, id: identifier_pb2.Identifier) -> dict[str, types_pb2.LiteralType]:
    asked = common_pb2.ObjectGetRequest(id=id)
    if id.resource_type == identifier_pb2.TASK:
        task = await desk.call("GetTask", asked)
        inputs = task.closure.compiled_task.template.interface.inputs.variables
        return {name: variable.type for name, variable in inputs.items()}
    asked.id.resource_type = identifier_pb2.LAUNCH_PLAN
    plan = await desk.call("GetLaunchPlan", asked)
    return {name: one.var.type for name, one in plan.closure.expected_inputs.parameters.items()}
