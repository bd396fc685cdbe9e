"""Prompts that people choose, and completions of what prompts and resources are named by."""

from __future__ import annotations

from typing import Any

import orjson
from flyteidl.admin import common_pb2, execution_pb2, project_pb2

from app.mcp import results
from app.mcp.inquiries import FAILED, Desk, OfRun, Run, list_failed_nodes, validated

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

What is known is below. Look first at the nodes that lie deepest (`inside` names the node around one): what failed \
around them failed because of them. An error of kind USER comes from the code of the task or its inputs, SYSTEM from \
what it ran on. Name the node and the task, quote the line that matters, say what to change. If the fault may have \
passed by itself, suggest recover-workflow-execution, which keeps what succeeded; do not call it unasked. If this is \
not enough, read more with retrieve-execution-data and the addresses flyte://v1/{project}/{domain}/{name}/<node>/i.

{facts}"""


async def why(desk: Desk, arguments: dict[str, str]) -> str:
    """The question with the facts. errors: INVALID_ARGUMENT naming the argument; NOT_FOUND"""
    found = await list_failed_nodes(desk, OfRun(id=validated(Run, arguments)))
    facts, note = await results.of_model(found, desk.limits.result_bytes_max)
    text = orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode()
    return _QUESTION.format(**{name: arguments[name] for name in ARGUMENTS}, facts=f"{text}\n{note}".rstrip())


async def completions(desk: Desk, argument: str, begun: str, given: dict[str, str], *, failed: bool) -> list[str]:
    """What an argument may be, as far as it is begun. failed: executions that failed alone; given: the others."""
    project, domain = given.get("project", ""), given.get("domain", "")
    found: list[Any] = []
    if argument in ("project", "domain"):
        projects = (await desk.call("ListProjects", project_pb2.ProjectListRequest(limit=COMPLETIONS_MAX))).projects
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
        page: execution_pb2.ExecutionList = await desk.call("ListExecutions", request)
        found = [one.id.name for one in page.executions]
    return [one for one in found if one.startswith(begun)][:COMPLETIONS_MAX]
