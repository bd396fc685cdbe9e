"""The schedules of launch plans over HTTP (docs/schedules.md). Not upstream's.

GET  /api/v1/schedules/{project}/{domain}[/{name}]                      their states
POST /api/v1/schedules/{project}/{domain}/{name}/{version}/pause        {"reason": "…"}
POST …/resume      {"catch_up": false}
POST …/trigger     {}
POST …/backfill    {"from": "…", "to": "…", "dry_run": true, "force": false}
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from app import errors
from app.api.pages import json_pages
from app.api.pages.page_access import address_of, answering_errors, require
from app.api.pages.segment_route import SegmentRoute
from app.auth import audit
from app.auth.identity import Identity
from app.auth.roles import Need, Role
from app.runtime.context import Context
from app.runtime.dispatch import Server, perform
from app.services.schedules import control, runs, states
from app.services.schedules.slots import Key, tzdata_version
from app.services.schedules.views import view

PATH = "/api/v1/schedules"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Pause(_Body):
    """The body of `pause`."""

    reason: str = Field(default="", max_length=control.REASON_LENGTH_MAX)


class Resume(_Body):
    """The body of `resume`. catch_up: launch the slots since the pause, too."""

    catch_up: bool = False


class Trigger(_Body):
    """The body of `trigger`. if_allowed: refuse where the schedule is paused, or where `overlap` allows no launch."""

    if_allowed: bool = False


class Backfill(_Body):
    """The body of `backfill`: the slots after `from` and up to `to`.

    Attributes:
        dry_run: Only list the slots.
        force: Launch again slots that have an execution.
    """

    start: AwareDatetime = Field(alias="from")
    end: AwareDatetime = Field(alias="to")
    dry_run: bool = False
    force: bool = False


def routes(server: Server) -> list[BaseRoute]:
    """Return the routes for schedules."""
    page = _Page(server)
    schedule = PATH + "/{project}/{domain}/{name}/{version}"
    actions = (
        page.action("pause", Pause, Role.REGISTER, page.pause),
        page.action("resume", Resume, Role.REGISTER, page.resume),
        page.action("trigger", Trigger, Role.RUN, page.trigger),
        page.action("backfill", Backfill, Role.RUN, page.backfill),
    )
    return [
        *(
            SegmentRoute(PATH + path, answering_errors(page.list), methods=["GET"])
            for path in ("/{project}/{domain}", "/{project}/{domain}/{name}")
        ),
        *(SegmentRoute(f"{schedule}/{name}", answering_errors(serve), methods=["POST"]) for name, serve in actions),
    ]


class _Page:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def list(self, request: Request) -> Response:
        """Return one page of schedules; the next page has this `token`."""
        place = {
            part: request.path_params[part] for part in ("project", "domain", "name") if part in request.path_params
        }
        await require(self._server, request, Need(Role.VIEW, place["project"], place["domain"]), "schedules")
        limit = json_pages.number(request.query_params.get("limit", "100"), "limit", 1, json_pages.PAGE_ROWS_MAX)
        after = json_pages.number(request.query_params.get("token") or "0", "token", 0, 2**53)
        only_problems = request.query_params.get("problems") == "true"
        async with self._server.database.unit_of_work() as unit:
            rows = await states.of_place(unit, after=after, most=limit + 1, **place)
        now = datetime.now(UTC)
        found = [view(row, self._server.settings, now) for row in rows[:limit]]
        if only_problems:
            found = [one for one in found if one["problem"] or one["warnings"] or one["never"]]
        token = str(rows[limit - 1].id) if len(rows) > limit else ""
        return json_pages.reply({"schedules": found, "token": token, "tzdata": tzdata_version()})

    def action(
        self, what: str, body: type[_Body], role: Role, function: Callable[..., Awaitable[Any]]
    ) -> tuple[str, Callable[[Request], Awaitable[Response]]]:
        """Return the name and the handler of an action on one schedule."""

        async def serve(request: Request) -> Response:
            key: Key = tuple(request.path_params[part] for part in ("project", "domain", "name", "version"))
            need, name = Need(role, key[0], key[1]), f"schedule {what}"
            caller = await require(self._server, request, need, name, acts=True)
            outcome = f"error {errors.Internal.code}"
            try:
                found = await function(key, await self._body(request, body), caller)
                outcome = "ok"
            except errors.FlyteError as error:
                outcome = f"error {error.code}"
                raise
            finally:
                where, address = f"{need.place}/{key[2]}", address_of(request)
                audit.record("write", name, who=caller, where=where, outcome=outcome, caller=address)
            return json_pages.reply(found)

        return what, serve

    async def pause(self, key: Key, body: Pause, caller: Identity) -> dict[str, Any]:
        """Stop the schedule and keep the reason."""

        async def change(ctx: Context, body: Pause) -> None:
            await control.pause(ctx, key, body.reason, by=ctx.principal)

        await self._perform(caller, change, body)
        return {}

    async def resume(self, key: Key, body: Resume, caller: Identity) -> dict[str, Any]:
        """Start the schedule again."""

        async def change(ctx: Context, body: Resume) -> None:
            await control.resume(ctx, key, catch_up=body.catch_up)

        await self._perform(caller, change, body)
        return {}

    async def trigger(self, key: Key, body: Trigger, caller: Identity) -> dict[str, Any]:
        """Launch the launch plan now."""

        async def launch(ctx: Context, body: Trigger) -> str:
            return await runs.trigger(ctx, key, if_allowed=body.if_allowed)

        return {"execution": await self._perform(caller, launch, body)}

    async def backfill(self, key: Key, body: Backfill, caller: Identity) -> dict[str, Any]:
        """List the slots of a time, and launch those without an execution."""

        async def read(ctx: Context, body: Backfill) -> list[runs.Slot]:
            return await runs.slots_between(ctx, key, body.start, body.end)

        found = await self._perform(caller, read, body)
        shown = []
        for one in found:
            outcome = "exists" if one.exists and not body.force else "would launch"
            name = one.execution
            if not body.dry_run and outcome != "exists":
                outcome, name = await self._fill_in(key, one, body, caller)
            shown.append({"slot": one.slot.isoformat(), "execution": name, "outcome": outcome})
        return {"slots": shown}

    async def _fill_in(self, key: Key, slot: runs.Slot, body: Backfill, caller: Identity) -> tuple[str, str]:
        """Launch one slot. Return the outcome and the name of the execution."""

        async def launch(ctx: Context, slot: runs.Slot) -> str:
            return await runs.fill_in(ctx, key, slot.slot, again=body.force and slot.exists)

        try:
            return "launched", await self._perform(caller, launch, slot)
        except errors.AlreadyExists:
            return "exists", slot.execution

    async def _perform(self, caller: Identity, function: Callable[[Context, Any], Awaitable[Any]], body: Any) -> Any:
        """Run a function in a unit of work on behalf of the caller."""

        async def act(ctx: Context, body: Any) -> Any:
            ctx.identity = caller
            return await function(ctx, body)

        return await perform(self._server, act, body)

    async def _body(self, request: Request, kind: type[_Body]) -> _Body:
        raw = await json_pages.read(request, self._server.settings)
        try:
            return kind.model_validate_json(raw or b"{}")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise errors.InvalidArgument(f"{field or 'the body'}: {first['msg']}") from error
