"""Messages of the outbox over HTTP: notifications and published events (docs/notifications.md). Not upstream's.

GET /api/v1/notifications/{project}/{domain}/{execution}    the messages about an execution, the newest first
GET /api/v1/notifications/{project}/{domain}                those of a domain
    ?limit=100  rows, at most 1000     ?token=…   of the page before     ?target=mail  ?state=failed  only such messages
    ?about=notifications, ?about=events     only notifications, or only published events
    {"deliveries": [
        {"id": "3f0c…", "target": "mail", "kind": "email", "recipient": "a@example.com",
         "execution": {"project": "p", "domain": "d", "name": "e"},
         "state": "pending" | "delivered" | "failed", "attempts": 1,
         "created_at": "2026-01-01T00:00:00.000000Z", "next_at": null, "finished_at": "2026-01-01T00:00:01.000000Z",
         "reply": "250 OK", "reason": ""}],
     "token": ""}
    `target`: mail, webhook, queue (a topic from which another server sends the e-mail), external_events, cloud_events.
    `kind`: email, slack, pager_duty; workflow, node, task for events. `next_at`: the next attempt of a pending message.
    `reason`: why the last attempt did not succeed. `recipient`: of a webhook only the host.
GET /api/v1/notifications                                   {"targets": [{"name": "mail", "problem": ""}]}
    The targets of the process that replies; `problem` is the reason why a target cannot be used now.
POST /api/v1/notifications/test     {"address": "a@example.com"}    sends a test message; for administrators
    {"delivered": true, "reply": "250 OK", "reason": "", "conversation": ["220 …", "MAIL FROM:<…>", "250 …"]}
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app import errors
from app.api.pages import json_pages
from app.api.pages.page_access import address_of, answering_errors, require
from app.auth import audit
from app.auth.roles import ANY, Need, Role
from app.background.notifications.trial import send_trial
from app.background.outbox.service import Outbox
from app.runtime.dispatch import Server
from app.runtime.metrics import TARGETS
from app.services import outbox as messages
from app.services.notifications import ADDRESS_LENGTH_MAX, MAIL, QUEUE, WEBHOOK

PATH = "/api/v1/notifications"
ABOUT = {"notifications": (MAIL, WEBHOOK, QUEUE), "events": ("external_events", "cloud_events")}
STATES = ("pending", "delivered", "failed")


class Trial(BaseModel):
    """The body of `test`."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(min_length=1, max_length=ADDRESS_LENGTH_MAX)


def routes(server: Server, outbox: Outbox) -> list[BaseRoute]:
    """Return the routes for messages of the outbox."""
    page = _Page(server, outbox)
    return [
        Route(PATH, answering_errors(page.targets), methods=["GET"]),
        Route(f"{PATH}/test", answering_errors(page.test), methods=["POST"]),
        *(
            Route(PATH + path, answering_errors(page.list), methods=["GET"])
            for path in ("/{project}/{domain}", "/{project}/{domain}/{execution}")
        ),
    ]


class _Page:
    def __init__(self, server: Server, outbox: Outbox) -> None:
        self._server = server
        self._outbox = outbox

    async def targets(self, request: Request) -> Response:
        """Return the targets of this process and why they cannot be used."""
        await require(self._server, request, Need(Role.VIEW, ANY, ANY), "notification targets")
        found = [{"name": name, "problem": problem} for name, problem in self._outbox.states().items()]
        return json_pages.reply({"targets": found})

    async def test(self, request: Request) -> Response:
        """Send a test message and return how the receiver replied."""
        caller = await require(self._server, request, Need(Role.ADMIN, ANY, ANY), "notification test", acts=True)
        outcome = f"error {errors.Internal.code}"
        try:
            trial = await self._body(request)
            found = await send_trial(self._server.settings, self._outbox, trial.address)
            outcome = "ok"
        except errors.FlyteError as error:
            outcome = f"error {error.code}"
            raise
        finally:
            address = address_of(request)
            audit.record(
                "write", "notification test", who=caller, where=f"{ANY}/{ANY}", outcome=outcome, caller=address
            )
        return json_pages.reply(found)

    async def _body(self, request: Request) -> Trial:
        try:
            return Trial.model_validate_json(await json_pages.read(request, self._server.settings))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise errors.InvalidArgument(f"{where}: {first['msg']}") from error

    async def list(self, request: Request) -> Response:
        """Return one page of messages."""
        names = {"project": "execution_project", "domain": "execution_domain", "execution": "execution_name"}
        where = {column: request.path_params[name] for name, column in names.items() if name in request.path_params}
        need = Need(Role.VIEW, where["execution_project"], where["execution_domain"])
        await require(self._server, request, need, "notifications")
        query = request.query_params
        limit = json_pages.number(query.get("limit", "100"), "limit", 1, json_pages.PAGE_ROWS_MAX)
        before = json_pages.number(query.get("token") or str(2**53), "token", 0, 2**53)
        for name, allowed in (("target", TARGETS), ("state", STATES)):
            if value := query.get(name):
                if value not in allowed:
                    raise errors.InvalidArgument(f"{name} [{value[:40]}] must be one of {', '.join(allowed)}")
                where[name] = value
        about = query.get("about") or ""
        if about and about not in ABOUT:
            raise errors.InvalidArgument(f"about [{about[:40]}] must be one of {', '.join(ABOUT)}")
        targets = ABOUT[about] if about else ()
        async with self._server.database.unit_of_work() as unit:
            rows = await messages.of_place(unit, before=before, most=limit + 1, targets=targets, **where)
        token = str(rows[limit - 1].id) if len(rows) > limit else ""
        return json_pages.reply({"deliveries": [_view(row) for row in rows[:limit]], "token": token})


def _view(row: Any) -> dict[str, Any]:
    return {
        "id": row.delivery_id,
        "target": row.target,
        "kind": row.kind,
        "recipient": row.recipient,
        "execution": {"project": row.execution_project, "domain": row.execution_domain, "name": row.execution_name},
        "state": row.state,
        "attempts": row.attempts,
        "created_at": _time(row.created_at),
        "next_at": _time(row.next_at),
        "finished_at": _time(row.finished_at),
        "reply": row.reply or "",
        "reason": row.reason or "",
    }


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment is not None else None
