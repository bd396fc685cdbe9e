"""MCP resources: executions, workflows and the data of nodes, each at a flyte:// address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from flyteidl.admin import common_pb2, execution_pb2, workflow_pb2
from flyteidl.core import identifier_pb2
from flyteidl.core import workflow_pb2 as core_workflow_pb2
from flyteidl.service import dataproxy_pb2
from mcp.shared.uri_template import UriTemplate

from app import errors
from app.mcp import plain_json, results
from app.mcp.composite_tools import ToolContext
from app.runtime.threads import in_thread_if_large

URI_LENGTH_MAX = 2_000

Read = Callable[[ToolContext, dict[str, str]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """A kind of resource: the template of its addresses, and the function that reads one."""

    name: str
    template: str
    description: str
    read: Read


async def _execution(context: ToolContext, names: dict[str, str]) -> dict[str, Any]:
    id = identifier_pb2.WorkflowExecutionIdentifier(**names)
    found = await context.call("GetExecution", execution_pb2.WorkflowExecutionGetRequest(id=id))
    return await in_thread_if_large(found.ByteSize(), results.to_json, found)


async def _workflow(context: ToolContext, names: dict[str, str]) -> dict[str, Any]:
    """Return interface and nodes; the compiled workflow is too large for a model, and made for engines."""
    id = identifier_pb2.Identifier(resource_type=identifier_pb2.WORKFLOW, **names)
    found: workflow_pb2.Workflow = await context.call("GetWorkflow", common_pb2.ObjectGetRequest(id=id))
    return await in_thread_if_large(found.ByteSize(), _outline, found)


def _outline(found: workflow_pb2.Workflow) -> dict[str, Any]:
    template = found.closure.compiled_workflow.primary.template
    return {
        "id": results.to_json(found.id),
        "created_at": found.closure.created_at.ToJsonString(),
        "description": found.short_description,
        "inputs": plain_json.describe_types(template.interface.inputs.variables),
        "outputs": plain_json.describe_types(template.interface.outputs.variables),
        "nodes": [_node(node) for node in template.nodes],
    }


def _node(node: core_workflow_pb2.Node) -> dict[str, Any]:
    kind = node.WhichOneof("target") or ""
    runs = ""
    if kind == "task_node":
        runs = node.task_node.reference_id.name
    elif kind == "workflow_node":
        workflow = node.workflow_node
        runs = (workflow.launchplan_ref if workflow.HasField("launchplan_ref") else workflow.sub_workflow_ref).name
    return {"id": node.id, "kind": kind.removesuffix("_node"), "runs": runs, "after": list(node.upstream_node_ids)}


async def _data(context: ToolContext, names: dict[str, str]) -> dict[str, Any]:
    found = await context.call("GetData", dataproxy_pb2.GetDataRequest(flyte_url=f"flyte://v1/{names['path']}"))
    return await in_thread_if_large(found.ByteSize(), _shown, found)


def _shown(found: dataproxy_pb2.GetDataResponse) -> dict[str, Any]:
    match found.WhichOneof("data"):
        case "literal_map":
            return plain_json.plain_values(found.literal_map.literals)
        case "literal":
            return {"value": plain_json.plain_value(found.literal)}
    return results.to_json(found)


ALL = (
    ResourceKind(
        "execution",
        "flyte://execution/{project}/{domain}/{name}",
        "An execution: what was launched, its phase, its error.",
        _execution,
    ),
    ResourceKind(
        "workflow",
        "flyte://workflow/{project}/{domain}/{name}/{version}",
        "A version of a workflow: inputs, outputs, and nodes with what each runs and waits for.",
        _workflow,
    ),
    ResourceKind(
        "data",
        "flyte://v1/{+path}",
        "Inputs (i) or outputs (o) of a node, or of one attempt of its task, as plain values: "
        "flyte://v1/<project>/<domain>/<execution>/<node>[/<attempt>]/(i|o)[/<name>].",
        _data,
    ),
)
_TEMPLATES = tuple((UriTemplate.parse(one.template), one) for one in ALL)


async def read(context: ToolContext, uri: str) -> tuple[dict[str, Any], str]:
    """Return a resource within the size limit of results, and a note about truncated parts, "" without any.

    Raises:
        InvalidArgument: The address has none of the forms.
        NotFound: There is no such resource.
    """
    for template, resource in _TEMPLATES:
        names = template.match(uri, max_uri_length=URI_LENGTH_MAX)
        if names is not None:
            found = await resource.read(context, {key: str(value) for key, value in names.items()})
            # Truncate in a thread: the size of the resource is unknown before.
            return await asyncio.to_thread(results.truncate, found, context.limits.result_bytes_max)
    forms = ", ".join(one.template for one in ALL)
    shown = uri[:200].encode("utf-8", "replace").decode()
    raise errors.InvalidArgument(f"{shown} is no address of a resource here; they have the forms {forms}")
