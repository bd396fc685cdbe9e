"""The OpenAPI document of this server's own routes: /openapi-own.json. Upstream's are in /openapi.json.

OPERATIONS is the source, together with the models of bodies and replies. tests/api/pages/test_own_document.py
compares it with the routes, and the tests of the pages compare each reply with its model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.api.pages import (
    cached_outputs,
    connectors,
    environments,
    notifications,
    own_models,
    own_roles,
    roles,
    schedules,
    status,
    status_model,
)
from app.api.pages.json_pages import PAGE_ROWS_MAX
from app.runtime.metrics import TARGETS

PATH = "/openapi-own.json"
_SCHEMAS = "#/components/schemas/{model}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One verb of one path.

    Attributes:
        path: With its variables in braces, as the route has it.
        query: The schema of each parameter.
        body: None for no body.
    """

    verb: Literal["get", "post", "delete"]
    path: str
    summary: str
    reply: type[BaseModel]
    body: type[BaseModel] | None = None
    query: tuple[tuple[str, dict[str, Any]], ...] = ()


_PAGE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("limit", {"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX, "default": 100}),
    ("token", {"type": "string"}),
)
_PROBLEMS = (*_PAGE, ("problems", {"type": "boolean", "default": False}))
_MESSAGES = (
    *_PAGE,
    ("about", {"type": "string", "enum": list(notifications.ABOUT)}),
    ("target", {"type": "string", "enum": list(TARGETS)}),
    ("state", {"type": "string", "enum": list(notifications.STATES)}),
)
_DOMAIN, _NAME = f"{schedules.PATH}/{{project}}/{{domain}}", "/{name}"
_VERSION = f"{_DOMAIN}{_NAME}/{{version}}"
_CACHED = f"{cached_outputs.PATH}/{{project}}/{{domain}}"
_OF_TASK: tuple[tuple[str, dict[str, Any]], ...] = tuple((name, {"type": "string"}) for name in ("task", "version"))

OPERATIONS: tuple[Operation, ...] = (
    Operation("get", _DOMAIN, "List the schedules of a domain", own_models.Schedules, query=_PROBLEMS),
    Operation("get", _DOMAIN + _NAME, "List the schedules of a launch plan", own_models.Schedules, query=_PROBLEMS),
    Operation("post", f"{_VERSION}/pause", "Stop a schedule", own_models.Nothing, schedules.Pause),
    Operation("post", f"{_VERSION}/resume", "Start a paused schedule", own_models.Nothing, schedules.Resume),
    Operation("post", f"{_VERSION}/trigger", "Launch now", own_models.Launched, schedules.Trigger),
    Operation("post", f"{_VERSION}/backfill", "Launch past slots", own_models.BackfillSlots, schedules.Backfill),
    Operation("get", notifications.PATH, "List the kinds of receivers", own_models.Targets),
    Operation(
        "post", f"{notifications.PATH}/test", "Send a test message", own_models.TrialOutcome, notifications.Trial
    ),
    Operation(
        "get",
        f"{notifications.PATH}/{{project}}/{{domain}}",
        "List the messages of a domain",
        own_models.Deliveries,
        query=_MESSAGES,
    ),
    Operation(
        "get",
        f"{notifications.PATH}/{{project}}/{{domain}}/{{execution}}",
        "List the messages about an execution",
        own_models.Deliveries,
        query=_MESSAGES,
    ),
    Operation("get", _CACHED, "List cached outputs of tasks", own_models.CachedOutputs, query=(*_PAGE, *_OF_TASK)),
    Operation("delete", _CACHED, "Delete cached outputs of a task", own_models.DeletedOutputs, query=_OF_TASK),
    Operation("get", environments.PATH, "List the environments of tasks", own_models.Environments),
    Operation("get", f"{environments.PATH}/{{id}}/log", "Read an installer's output", own_models.EnvironmentLog),
    Operation("get", connectors.PATH, "List the services that run tasks of connectors", own_models.Connectors),
    Operation("get", roles.PATH, "List the bindings of roles", own_models.RoleBindings, query=_PAGE),
    Operation("post", roles.PATH, "Store a binding", own_models.Nothing, own_models.RoleBinding),
    Operation("get", own_roles.PATH, "List the roles of the caller", own_models.Grants),
    Operation("get", status.PATH, "Show the state of this server", status_model.Status),
    Operation("delete", roles.PATH, "Remove a binding", own_models.Nothing, own_models.RoleBinding),
)


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    bodies = {one.body for one in OPERATIONS if one.body is not None}
    replies = {one.reply for one in OPERATIONS} | {own_models.Error}
    names = sorted(bodies | replies, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in names], ref_template=_SCHEMAS)
    paths: dict[str, Any] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.verb] = _described(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Flyte Admin: routes of this server", "version": "v1"},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        # Where authentication is off, no token is needed.
        "security": [{}, {"bearer": []}],
    }


def _described(one: Operation) -> dict[str, Any]:
    variables = re.findall(r"{(\w+)}", one.path)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in variables
    ] + [{"name": name, "in": "query", "schema": schema} for name, schema in one.query]
    words = re.findall(r"\w+", one.path.removeprefix("/api/v1").replace("{", "by_"))
    found: dict[str, Any] = {
        "operationId": "_".join((one.verb, *words)),
        "summary": one.summary,
        "tags": [one.path.split("/")[3]],
        "parameters": parameters,
        "responses": {
            "200": {"description": "The reply", "content": _content(one.reply)},
            "default": {"description": "An error", "content": _content(own_models.Error)},
        },
    }
    if one.body is not None:
        found["requestBody"] = {"required": one.body is not schedules.Trigger, "content": _content(one.body)}
    return found


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _SCHEMAS.format(model=model.__name__)}}}


@cache
def _bytes() -> bytes:
    return orjson.dumps(document())


async def _serve(_: Request) -> Response:
    return Response(_bytes(), media_type="application/json")


def routes() -> list[BaseRoute]:
    """Return the route of the document."""
    return [Route(PATH, _serve, methods=["GET"])]
