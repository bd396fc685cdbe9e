"""Cached outputs of tasks over HTTP, as `flyteadmin cache` has them (docs/local-engine.md). Not upstream's.

GET /api/v1/cached_outputs/{project}/{domain}    in the order of task, cache version and tag
    ?limit=100  rows, at most 1000     ?token=…   of the page before     ?task=NAME  ?version=V  only such entries
    {"entries": [{"task": "wf.train", "version": "1", "tag": "flyte_cached-…", "execution": "a9f…", "node": "n0",
        "attempt": 0, "updated_at": "2026-01-01T00:00:00.000000Z"}],
     "token": ""}
    `execution`, `node`, `attempt`: what produced the outputs, "" where a client of DataCatalog gave none.
DELETE /api/v1/cached_outputs/{project}/{domain}?task=NAME[&version=V]    {"deleted": 1000, "more": true}
    At most a thousand entries of the task; `more`: whether another call is needed. The outputs stay.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app import errors
from app.api.pages import json_pages
from app.api.pages.page_access import answering_errors, require
from app.auth.roles import Need, Role
from app.runtime.dispatch import Server
from app.services.catalog import ArtifactFilter, CacheKey, delete_artifacts, list_cached

PATH = "/api/v1/cached_outputs"


def routes(server: Server) -> list[BaseRoute]:
    """Return the route for cached outputs."""
    path = f"{PATH}/{{project}}/{{domain}}"

    async def list_all(request: Request) -> Response:
        chosen = _chosen(request)
        await require(server, request, Need(Role.VIEW, chosen.project, chosen.domain), "cached outputs")
        limit = json_pages.number(request.query_params.get("limit", "100"), "limit", 1, json_pages.PAGE_ROWS_MAX)
        after = _after(request.query_params.get("token", ""))
        async with server.database.unit_of_work() as unit:
            rows = await list_cached(unit, chosen, after=after, limit=limit + 1)
        token = CacheKey.of_row(rows[limit - 1]).token if len(rows) > limit else ""
        return json_pages.reply({"entries": [_view(row) for row in rows[:limit]], "token": token})

    async def delete(request: Request) -> Response:
        chosen = _chosen(request)
        await require(server, request, Need(Role.ADMIN, chosen.project, chosen.domain), "cached outputs")
        if not chosen.task:
            raise errors.InvalidArgument("which entries? Give the task")
        async with server.database.unit_of_work() as unit:
            deleted = await delete_artifacts(unit, chosen, limit=json_pages.PAGE_ROWS_MAX)
        return json_pages.reply({"deleted": deleted, "more": deleted == json_pages.PAGE_ROWS_MAX})

    return [
        Route(path, answering_errors(list_all), methods=["GET"]),
        Route(path, answering_errors(delete), methods=["DELETE"]),
    ]


def _chosen(request: Request) -> ArtifactFilter:
    place, query = request.path_params, request.query_params
    return ArtifactFilter(place["project"], place["domain"], query.get("task", ""), query.get("version", ""))


def _after(token: str) -> CacheKey | None:
    try:
        return CacheKey.of_token(token) if token else None
    except ValueError as error:
        raise errors.InvalidArgument(f"token [{token[:40]}] is of no earlier page") from error


def _view(row: Any) -> dict[str, Any]:
    key = CacheKey.of_row(row)
    return {
        "task": key.task,
        "version": key.version,
        "tag": key.tag,
        "execution": row.execution_name,
        "node": row.node_id,
        "attempt": row.retry_attempt,
        "updated_at": row.updated_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
