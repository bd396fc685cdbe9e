"""The routes of messages of the outbox, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
from starlette.applications import Starlette

from app.api.pages import notifications
from app.background.outbox.build import outbox_of
from app.runtime.dispatch import Server
from app.services import outbox
from app.settings.outbound import Emailer, EmailServer, Notifications
from tests.api.pages import own_replies
from tests.services.test_events import run_id
from tests.services.test_executions import prepare
from tests.services.test_notifications import end, launch, rule, with_mail
from tests.support.smtp_server import smtp_server

Scenario = Callable[..., Any]
ROOT = "/api/v1/notifications"
PLACE, TEST = f"{ROOT}/p/development", f"{ROOT}/test"


class Desk:
    """The routes on a bench."""

    def __init__(self, b: Any) -> None:
        self.server = Server(b.settings, b.database, b.blobs, b.engine)
        self.outbox = outbox_of(self.server)
        self._app = Starlette(routes=notifications.routes(self.server, self.outbox))

    async def __call__(self, verb: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://localhost") as client:
            reply = await client.request(verb, path, json=body, params=query)
        own_replies.check(verb, path, reply)
        return reply


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
        async with b.context() as ctx:
            await outbox.put(ctx, target="cloud_events", kind="node", execution=run_id("e1"), content=b"")
        for about, number in (("notifications", 6), ("events", 1), ("", 7)):
            assert len((await call("GET", PLACE, about=about)).json()["deliveries"]) == number
        for query in (
            {"about": "weather"},
            {"state": "lost"},
            {"target": "pigeon"},
            {"limit": "0"},
            {"limit": "1001"},
            {"token": "x"},
        ):
            refused = await call("GET", PLACE, **query)
            assert refused.status_code == 400, query

    bench(scenario)


def mail_at(b: Any, port: int) -> None:
    server = EmailServer(service_name="smtp", smtp_server="localhost", smtp_port=str(port))
    section = Notifications(emailer=Emailer(email_server_config=server, sender="flyte@example.com"))
    b.settings = b.settings.model_copy(update={"notifications": section})


def test_a_test_message_prints_the_conversation(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        async with smtp_server() as box:
            mail_at(b, box.port)
            call = Desk(b)
            sent = (await call("POST", TEST, {"address": "a@example.com"})).json()
            assert (sent["delivered"], sent["reply"], box.recipients) == (True, "250 queued", ["a@example.com"])
            assert "> RCPT TO:<a@example.com>" in sent["conversation"]
            box.replies = {"no@example.com": "550 unknown"}
            refused = (await call("POST", TEST, {"address": "no@example.com"})).json()
            assert (refused["delivered"], refused["reason"]) == (False, "RCPT TO: 550 unknown")
            assert refused["conversation"][-1] == "550 unknown"
            forbidden = (await call("POST", TEST, {"address": "http://127.0.0.1:1/"})).json()
            assert "secretNames" in forbidden["reason"]
            for body in ({}, {"address": ""}, {"address": "x" * 3000}, {"address": "a@b", "more": 1}, [1]):
                assert (await call("POST", TEST, body)).status_code == 400
            await call.outbox.target("mail").close()

    bench(scenario)


def test_the_targets_and_their_problems(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        assert (await Desk(b)("POST", TEST, {"address": "a@example.com"})).status_code == 400
        mail_at(b, 1)
        call = Desk(b)
        await call.outbox.start()
        try:
            async with asyncio.timeout(20):
                while not call.outbox.problems():  # noqa: ASYNC110 - as in test_outbox.py
                    await asyncio.sleep(0.01)
            targets = {one["name"]: one["problem"] for one in (await call("GET", ROOT)).json()["targets"]}
            assert targets.pop("mail").startswith("SMTP server localhost:1: ")
            assert targets == {"webhook": ""}
            assert call.outbox.health() == ""
        finally:
            await call.outbox.stop()

    bench(scenario)
