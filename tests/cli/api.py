"""A server's API in this process: replies in order, or by path."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

Reply = httpx.Response | Exception | dict[str, Any] | Callable[[httpx.Request], Any]


class Api:
    """Answers the requests of commands.

    Attributes:
        routes: Replies by `GET /path`; a function gets the request.
        replies: Replies in order, the last one again and again; where they are set, routes do not count.
        sent: The requests.
    """

    def __init__(self) -> None:
        self.routes: dict[str, Reply] = {}
        self.replies: list[Reply] = []
        self.sent: list[dict[str, Any]] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        self.sent.append(
            {
                "verb": request.method,
                "url": str(request.url),
                "path": request.url.path,
                "query": dict(request.url.params),
                "headers": dict(request.headers),
                "json": json.loads(body) if body.startswith((b"{", b"[")) else None,
                "body": body.decode(),
            }
        )
        if self.replies:
            reply = self.replies[min(len(self.sent), len(self.replies)) - 1]
        else:
            missing = httpx.Response(404, json={"code": 5, "message": "missing entity"})
            reply = self.routes.get(f"{request.method} {request.url.path}", missing)
        if callable(reply) and not isinstance(reply, httpx.Response):
            reply = reply(request)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, httpx.Response) else httpx.Response(200, json=reply)

    def paths(self) -> list[str]:
        """The requests as `GET /path`."""
        return [f"{one['verb']} {one['path']}" for one in self.sent]
