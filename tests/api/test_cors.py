"""Cross-origin requests, by the rules of gorilla/handlers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.api.cors import Cors, wrapped
from app.settings import Settings
from tests.api.asgi import Answer, ask

HERE = "https://here.example"
THERE = "https://there.example"
GRANTED = {"access-control-allow-credentials": "true"}


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers every verb with 201 and a header of its own."""
    await send({"type": "http.response.start", "status": 201, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"inner"})


def answer(verb: str, headers: dict[str, str], origins: tuple[str, ...] = ("*",)) -> Answer:
    app = Cors(inner, origins=origins, headers=("Content-Type", "flyte-authorization"))
    return asyncio.run(ask(app, verb, "/api/v1/projects", headers))


@pytest.mark.parametrize(
    ("origins", "headers"),
    [
        (("*",), {**GRANTED, "access-control-allow-origin": "*"}),
        ((), {}),
        ((THERE, "*"), {**GRANTED, "access-control-allow-origin": "*"}),
        ((HERE,), {**GRANTED, "access-control-allow-origin": HERE}),
        ((THERE, HERE), {**GRANTED, "access-control-allow-origin": HERE, "vary": "Origin"}),
        ((THERE,), {}),
        ((HERE.upper(),), {}),
    ],
)
def test_requests(origins: tuple[str, ...], headers: dict[str, str]) -> None:
    said = answer("GET", {"Origin": HERE}, origins)
    assert (said.status, said.body) == (201, b"inner")
    assert said.headers == {"x-own": "1", **headers}


@pytest.mark.parametrize("headers", [{}, {"Origin": ""}])
def test_requests_without_an_origin(headers: dict[str, str]) -> None:
    assert answer("GET", headers).headers == {"x-own": "1"}
    assert (answer("OPTIONS", headers).status, answer("OPTIONS", headers).headers) == (200, {"content-length": "0"})


@pytest.mark.parametrize(
    ("asked", "status", "granted"),
    [
        ({"Method": "GET"}, 200, {}),
        ({"Method": "PUT"}, 200, {"access-control-allow-methods": "PUT"}),
        ({"Method": "DELETE"}, 200, {"access-control-allow-methods": "DELETE"}),
        ({"Method": "POST", "Headers": "content-type"}, 200, {"access-control-allow-headers": "Content-Type"}),
        (
            {"Method": "POST", "Headers": "accept, FLYTE-authorization,,content-type"},
            200,
            {"access-control-allow-headers": "Flyte-Authorization,Content-Type"},
        ),
        ({"Method": "GET", "Headers": ""}, 200, {}),
        ({}, 400, None),
        ({"Method": "TRACE"}, 405, None),
        ({"Method": "get"}, 405, None),
        ({"Method": "GET", "Headers": "x-secret"}, 403, None),
        ({"Method": "GET", "Headers": "content type"}, 403, None),
    ],
)
def test_preflights(asked: dict[str, str], status: int, granted: dict[str, str] | None) -> None:
    said = answer(
        "OPTIONS", {"Origin": HERE, **{f"Access-Control-Request-{name}": value for name, value in asked.items()}}
    )
    expected = {"content-length": "0"}
    if granted is not None:
        expected |= {**GRANTED, "access-control-allow-origin": "*", **granted}
    assert (said.status, said.headers, said.body) == (status, expected, b"")


def test_preflights_of_other_origins_are_granted_nothing() -> None:
    said = answer("OPTIONS", {"Origin": HERE, "Access-Control-Request-Method": "PUT"}, (THERE,))
    assert (said.status, said.headers) == (200, {"content-length": "0"})


def test_what_the_settings_say(tmp_path: Path) -> None:
    def app(**security: Any) -> Any:
        return wrapped(inner, Settings.model_validate({"home": tmp_path, "server": {"security": security}}))

    assert app(allow_cors=False) is inner
    headers = {"Origin": HERE, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a"}
    allowing = app(allowed_origins=(HERE,), allowed_headers=("X-A",))
    assert asyncio.run(ask(allowing, "OPTIONS", "/", headers)).headers["access-control-allow-origin"] == HERE
    assert asyncio.run(ask(app(allowed_origins=("*",)), "OPTIONS", "/", headers)).status == 403
    assert asyncio.run(ask(app(), "OPTIONS", "/", headers)).headers == {"content-length": "0"}


def test_other_protocols_pass() -> None:
    passed: list[str] = []

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    async def nothing() -> Message:
        raise AssertionError("nothing is received")

    async def nowhere(message: Message) -> None:
        raise AssertionError("nothing is sent")

    asyncio.run(Cors(lifespan, origins=("*",), headers=())({"type": "lifespan"}, nothing, nowhere))
    assert passed == ["lifespan"]
