"""The routes of messages of the outbox, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from starlette.applications import Starlette

from app.api.pages import notifications
from app.runtime.dispatch import Server
from tests.services.test_executions import prepare
from tests.services.test_notifications import end, launch, rule, with_mail

Scenario = Callable[..., Any]
PLACE = "/api/v1/notifications/p/development"


class Desk:
    """The routes on a bench."""

    def __init__(self, b: Any) -> None:
        self.server = Server(b.settings, b.database, b.blobs, b.engine)
        self._app = Starlette(routes=notifications.routes(self.server))

    async def __call__(self, verb: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://localhost") as client:
            return await client.request(verb, path, json=body, params=query)


def test_the_messages_of_an_execution(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        with_mail(b)
        await launch(b, rule("email", "a@example.com", "nobody"))
        await end(b)
        call = Desk(b)
        reply = await call("GET", f"{PLACE}/e1")
        assert (reply.status_code, reply.json()["token"]) == (200, "")
        failed, pending = reply.json()["deliveries"]
        assert (failed["recipient"], failed["state"], failed["next_at"]) == ("nobody", "failed", None)
        assert failed["reason"] == "the recipient is no e-mail address"
        assert {
            key: pending[key] for key in ("target", "kind", "recipient", "state", "attempts", "reply", "reason")
        } == {
            "target": "mail",
            "kind": "email",
            "recipient": "a@example.com",
            "state": "pending",
            "attempts": 0,
            "reply": "",
            "reason": "",
        }
        assert pending["execution"] == {"project": "p", "domain": "development", "name": "e1"}
        assert pending["next_at"].endswith("Z")
        assert (await call("GET", f"{PLACE}/e2")).json() == {"deliveries": [], "token": ""}

    bench(scenario)


def test_pages_and_choices(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        with_mail(b)
        await launch(b, rule("email", *(f"u{number}@example.com" for number in range(5)), "nobody"))
        await end(b)
        call, token, found = Desk(b), "", []
        for _ in range(3):
            page = (await call("GET", PLACE, limit="2", token=token)).json()
            found += [one["recipient"] for one in page["deliveries"]]
            token = page["token"]
        assert (token, found) == ("", ["nobody", *(f"u{number}@example.com" for number in reversed(range(5)))])
        chosen = (await call("GET", PLACE, state="failed", target="mail")).json()["deliveries"]
        assert [one["recipient"] for one in chosen] == ["nobody"]
        for query in ({"state": "lost"}, {"target": "pigeon"}, {"limit": "0"}, {"limit": "1001"}, {"token": "x"}):
            refused = await call("GET", PLACE, **query)
            assert refused.status_code == 400, query

    bench(scenario)
