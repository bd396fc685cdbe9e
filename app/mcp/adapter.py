"""The REST adapter: the operations of the capability, each at its path in the API with /v1 in front.

The router of the API serves them, so bodies, encodings, errors and limits are those of the API.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.pages import docs
from app.api.rest.router import RestRouter, routes_of
from app.mcp import tools
from app.mcp.tools import Tool
from app.runtime.dispatch import Server
from app.runtime.rows import VARIABLE, Rpc

PREFIX = "/v1"
DOCUMENT_PATH = "/openapi.json"
_COMPONENT = re.compile(r'"#/components/(\w+)/([^"]+)"')


def path_of(tool: Tool) -> str:
    """Return the path of an operation as the capability writes it: /v1/api/v1/executions/{id-project}/…."""
    return PREFIX + VARIABLE.sub(lambda match: f"{{{_name(match[1])}}}", tools.binding_of(tool).template)


def _name(variable: str) -> str:
    """Return id-project for id.project."""
    return variable.replace(".", "-")


def served(tool: Tool) -> Rpc:
    """Return the RPC of an operation, with its binding in this adapter alone."""
    binding = tools.binding_of(tool)
    return replace(tools.rpcs_by_name()[tool.rpc], bindings=(replace(binding, template=PREFIX + binding.template),))


def application(server: Server) -> ASGIApp:
    """Return the ASGI application: the operations, and their OpenAPI document at /openapi.json."""
    operations = RestRouter(server, routes_of(map(served, tools.OPERATIONS)))

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == DOCUMENT_PATH and scope["method"] in ("GET", "HEAD"):
            await Response(openapi_bytes(), media_type="application/json")(scope, receive, send)
            return
        await operations(scope, receive, send)

    return serve


@cache
def openapi_bytes() -> bytes:
    """Return the OpenAPI document: the parts of the API's document that these operations need."""
    whole = orjson.loads(docs.openapi_bytes())
    known = {
        (operation["x-flyte-template"], verb): operation
        for path in whole["paths"].values()
        for verb, operation in path.items()
    }
    paths: dict[str, Any] = {}
    for tool in tools.OPERATIONS:
        binding = tools.binding_of(tool)
        operation = {**known[binding.template, binding.verb.lower()], "operationId": tool.operation}
        names = map(_name, binding.variables)
        operation["parameters"] = [
            {**one, "name": next(names)} if one["in"] == "path" else one for one in operation.get("parameters", [])
        ]
        operation |= {"summary": tool.title, "x-flyte-template": PREFIX + binding.template}
        paths.setdefault(path_of(tool), {})[binding.verb.lower()] = operation
    about = {**whole["info"], "title": "Flyte Admin API — Executions"}
    made = {**whole, "info": about, "paths": paths, "components": _used(paths, whole["components"])}
    made["tags"] = [tag for tag in whole["tags"] if tag["name"] == "Executions"]
    return orjson.dumps(made)


def _used(paths: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Return the components that the paths refer to, directly or through others, and the security schemes."""
    used: dict[str, Any] = {"securitySchemes": components["securitySchemes"]}
    text = orjson.dumps(paths).decode()
    while found := {pair for pair in _COMPONENT.findall(text) if pair[1] not in used.get(pair[0], {})}:
        for kind, name in found:
            used.setdefault(kind, {})[name] = components[kind][name]
        text = orjson.dumps([components[kind][name] for kind, name in found]).decode()
    return used
