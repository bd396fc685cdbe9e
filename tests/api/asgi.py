"""One request to an ASGI application, said byte by byte, as a server would hand it over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

Headers = list[tuple[bytes, bytes]]


@dataclass
class Answer:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: ASGIApp,
    verb: str,
    target: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    *,
    http_version: str = "1.1",
    receive: Callable[[], Awaitable[Message]] | None = None,
    scope: dict[str, Any] | None = None,
) -> Answer:
    """target: path and query as they stand in the request line. receive: where the body comes from, if not from body"""
    raw_path, _, query = target.encode("latin-1").partition(b"?")
    fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    if body is not None:
        fields.append((b"content-length", str(len(body)).encode()))
    request: dict[str, Any] = {
        "type": "http",
        "http_version": http_version,
        "method": verb,
        "scheme": "http",
        "path": unquote(raw_path.decode("latin-1")),
        "raw_path": raw_path,
        "query_string": query,
        "headers": fields if any(name == b"host" for name, _ in fields) else [(b"host", b"here:1"), *fields],
        "extensions": {},
        **(scope or {}),
    }
    events = [{"type": "http.request", "body": body or b"", "more_body": False}]

    async def receive_body() -> Message:
        if events:
            return events.pop()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets the event")

    answer = Answer()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = _decoded(message["headers"])
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")
        else:
            answer.trailers = _decoded(message["headers"])

    await app(request, receive or receive_body, send)
    return answer


def _decoded(fields: Headers) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
