"""The prompt why-did-this-execution-fail, and completions of arguments of prompts and resources."""

from __future__ import annotations

from typing import Any

import orjson
from flyteidl.admin import common_pb2, execution_pb2, project_pb2

from app.mcp import results
from app.mcp.composite_models import ExecutionArguments, ExecutionName, validated
from app.mcp.composite_tools import FAILED, ToolContext, list_failed_nodes

WHY = "why-did-this-execution-fail"
TITLE = "Why did this execution fail?"
DESCRIPTION = "Finds the cause of a failed execution from its failed nodes, their errors and their logs."
ARGUMENTS = {
    "project": "The id of the project.",
    "domain": "The domain, such as development.",
    "name": "The name of the execution.",
}
COMPLETIONS_MAX = 100

_QUESTION = """\
Why did the execution {name} in {project}/{domain} fail, and what should be done?

The facts are below. Look first at the innermost nodes (`inside` names the node that contains one): the nodes that \
contain them failed because of them. An error of kind USER comes from the code of the task or its inputs, SYSTEM from \
what it ran on. Name the node and the task, quote the line that matters, say what to change. If the fault may have \
passed by itself, suggest recover-workflow-execution, which keeps what succeeded; do not call it unasked. If this is \
not enough, read more with retrieve-execution-data and the addresses flyte://v1/{project}/{domain}/{name}/<node>/i.

{facts}"""


async def why(context: ToolContext, arguments: dict[str, str]) -> str:
    """Return the question with the execution's failures.

    Raises:
        InvalidArgument: The message names the argument that does not fit.
        NotFound: There is no such execution.
    """
    found = await list_failed_nodes(context, ExecutionArguments(id=validated(ExecutionName, arguments)))
    facts, note = await results.from_model(found, context.limits.result_bytes_max)
    text = orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode()
    return _QUESTION.format(**{name: arguments[name] for name in ARGUMENTS}, facts=f"{text}\n{note}".rstrip())


async def completions(
    context: ToolContext, argument: str, begun: str, given: dict[str, str], *, failed: bool
) -> list[str]:
    """Return values that an argument may take.

    Args:
        context: The client for RPCs, and the limits.
        argument: Name of the argument: project, domain or name.
        begun: The first characters of the value.
        given: The values of the other arguments.
        failed: Whether only executions that failed count.
    """
    project, domain = given.get("project", ""), given.get("domain", "")
    found: list[Any] = []
    if argument in ("project", "domain"):
        projects = (await context.call("ListProjects", project_pb2.ProjectListRequest(limit=COMPLETIONS_MAX))).projects
        found = [one.id for one in projects]
        if argument == "domain":
            found = list(dict.fromkeys(one.id for each in projects if project in ("", each.id) for one in each.domains))
    elif argument == "name" and project and domain:
        request = common_pb2.ResourceListRequest(
            id=common_pb2.NamedEntityIdentifier(project=project, domain=domain),
            limit=COMPLETIONS_MAX,
            filters=FAILED if failed else "",
            sort_by=common_pb2.Sort(key="created_at"),
        )
        page: execution_pb2.ExecutionList = await context.call("ListExecutions", request)
        found = [one.id.name for one in page.executions]
    return [one for one in found if one.startswith(begun)][:COMPLETIONS_MAX]
