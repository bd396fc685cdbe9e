"""The logs of task attempts: GET /logs/<project>/<domain>/<execution>/<node>/<attempt>, also while an attempt runs.

`?index=3&retry=0` selects an element of a map task. A Range header selects a part of the log, `?tail=<lines>` its last
lines. Each name becomes one component of a path, so no name leads out of the folder of attempts.

A browser that navigates to a log is redirected to the log in the console, unless the address has `?raw=1`.

`?follow` sends the log as it grows, as chunked text, until the attempt ends (log_follow.py).

Logs are as open as the API: where authentication is on, a caller needs a token, and where roles are on, the role `view`
in the project and domain. While an attempt runs, its log is in the home of the server that runs it; servers with other
homes answer 404. After the end it is in the object store too.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from flyteidl.core import identifier_pb2
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from app.api.pages import console, html
from app.api.pages.log_follow import MEDIA_TYPE, Followers
from app.api.pages.page_access import answering_errors, require
from app.auth.roles import Need, Role
from app.engine.local.processes import folders, stored_logs
from app.runtime.dispatch import Server

PATH = "/logs/{project}/{domain}/{execution}/{node:path}/{attempt}"
TAIL_LINES_MAX = 100_000
_PIECE_BYTES = 256 * 1024
_NUMBER = re.compile(r"[0-9]{1,9}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
    "accept-ranges": "bytes",
    "vary": "accept",
}


class _BadRequest(Exception):
    """A parameter is not valid; the message names it."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a log.

    Attributes:
        first: The first byte.
        end: The byte behind the last one.
        size_bytes: The size of the log when the request arrived.
    """

    first: int
    end: int
    size_bytes: int


def routes(server: Server) -> list[BaseRoute]:
    """Return the route for logs."""
    home = server.settings.home_path
    has_console = server.settings.console.enabled
    follow = Followers(server)

    async def serve(request: Request) -> Response:
        if has_console and html.wants_html(request) and "raw" not in request.query_params:
            # Before the check of access: the console signs in, and the address alone shows nothing.
            return _to_console(request)
        place = request.path_params["project"], request.path_params["domain"]
        await require(server, request, Need(Role.VIEW, *place), "logs")
        try:
            path = _path(home, request)
            tail = _number(request.query_params, "tail", TAIL_LINES_MAX)
        except _BadRequest as error:
            return _reply(400, str(error))
        try:
            descriptor = await asyncio.to_thread(folders.open_log, path)
        except OSError:
            return await _stored(server, request, path, tail)
        try:
            size = os.fstat(descriptor).st_size
            follows = "follow" in request.query_params and request.method == "GET"
            part = _part(request.headers.get("range", ""), size)
            if part is None and not follows:
                os.close(descriptor)
                return _too_far(size)
            if tail is not None:
                part = _Part(await asyncio.to_thread(_start_of_tail, _file(descriptor), size, tail), size, size)
            if follows:
                first = _first(request.headers.get("range", "")) if part is None else part.first
                return follow.respond(descriptor, path.parent, first, _HEADERS)
        except BaseException:
            os.close(descriptor)
            raise
        assert part is not None
        return _respond(request, descriptor, part)

    return [Route(PATH, answering_errors(serve), methods=["GET", "HEAD"])]


def _to_console(request: Request) -> Response:
    """Redirect to the log in the console, whose attempts count from 1."""
    names, given = request.path_params, request.query_params
    try:
        attempt, index = _number(names, "attempt"), _number(given, "index")
    except _BadRequest as error:
        return _reply(400, str(error))
    assert attempt is not None
    query = {"node": names["node"], "attempt": attempt + 1}
    query |= {"panel": "log"} if index is None else {"panel": "indices", "index": index}
    root = quote(request.scope.get("root_path", ""))
    project, domain, execution = (quote(names[name], safe="") for name in ("project", "domain", "execution"))
    page = f"{root}{console.PATH}/projects/{project}/domains/{domain}/executions/{execution}"
    return RedirectResponse(f"{page}?{urlencode(query)}", 303, headers=_HEADERS)


async def _stored(server: Server, request: Request, path: Path, tail: int | None) -> Response:
    """Return the log that the server of the attempt has copied into the store."""
    data = await stored_logs.read(
        server.blobs,
        path.parent,
        element="index" in request.query_params,
        bytes_max=server.settings.engine.local.log_bytes_max,
    )
    if data is None:
        return _reply(
            404, "there is no log of such an attempt here: it has not started, printed nothing, or runs elsewhere"
        )
    part = _part(request.headers.get("range", ""), len(data))
    if part is None:
        return _too_far(len(data))
    if tail is not None:
        part = _Part(_start_of_tail(lambda size, at: data[at : at + size], len(data), tail), len(data), len(data))
    status, headers = _head(part)
    content = b"" if request.method == "HEAD" else data[part.first : part.end]
    return Response(content, status, headers=headers, media_type=MEDIA_TYPE)


def _file(descriptor: int) -> Callable[[int, int], bytes]:
    return lambda size, at: os.pread(descriptor, size, at)


def _too_far(size: int) -> Response:
    return _reply(416, f"the log has {size} bytes", {"content-range": f"bytes */{size}"})


def _first(header: str) -> int:
    """Return the first byte of a range that begins at or behind the present end."""
    match = _RANGE.fullmatch(header.strip())
    return int(match[1]) if match is not None and match[1] else 0


def _path(home: Path, request: Request) -> Path:
    names = request.path_params
    id = identifier_pb2.WorkflowExecutionIdentifier(
        project=names["project"], domain=names["domain"], name=names["execution"]
    )
    node = folders.node_folder(folders.execution_folder(home, id), names["node"])
    attempt = _number(names, "attempt")
    assert attempt is not None
    index = _number(request.query_params, "index")
    retry = _number(request.query_params, "retry") or 0
    return folders.attempt_folder(node, attempt, index=index, retry=retry) / folders.LOG


def _number(given: Any, name: str, most: int = 10**9) -> int | None:
    """Return a number of the request, None without one. Raises _BadRequest."""
    text = given.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise _BadRequest(f"{name}={text[:40]} is not a number from 0 to {most}")
    return int(text)


def _part(header: str, size: int) -> _Part | None:
    """Return the part that a Range header selects; None where the log has none of these bytes.

    A header with several ranges or an unknown unit selects the whole log, as RFC 9110 allows.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return _Part(0, size, size)
    first, last = match.groups()
    if not first:
        return _Part(max(0, size - int(last)), size, size) if int(last) and size else None
    end = min(int(last) + 1, size) if last else size
    return _Part(int(first), end, size) if int(first) < end else None


def _start_of_tail(read: Callable[[int, int], bytes], size: int, lines: int) -> int:
    """Return the position of the last lines. A newline at the end of the log starts no line.

    Args:
        read: Returns so many bytes at a position.
        size: The size of the log.
        lines: The number of lines.
    """
    if lines == 0 or size == 0:
        return size
    position = size - 1
    while position > 0:
        start = max(0, position - _PIECE_BYTES)
        piece = read(position - start, start)
        found = piece.count(b"\n")
        if found >= lines:
            at = len(piece)
            for _ in range(lines):
                at = piece.rindex(b"\n", 0, at)
            return start + at + 1
        lines -= found
        position = start
    return 0


def _head(part: _Part) -> tuple[int, dict[str, str]]:
    """Return status and headers of a reply with a part."""
    headers = {**_HEADERS, "content-length": str(part.end - part.first)}
    whole = part.first == 0 and part.end == part.size_bytes
    if not whole:
        headers["content-range"] = f"bytes {part.first}-{part.end - 1}/{part.size_bytes}"
    return (200 if whole else 206), headers


def _respond(request: Request, descriptor: int, part: _Part) -> Response:
    status, headers = _head(part)
    if request.method == "HEAD" or part.first == part.end:
        os.close(descriptor)
        return Response(status_code=status, headers=headers, media_type=MEDIA_TYPE)
    return StreamingResponse(_pieces(descriptor, part), status_code=status, headers=headers, media_type=MEDIA_TYPE)


async def _pieces(descriptor: int, part: _Part) -> AsyncIterator[bytes]:
    """Yield the bytes of a part. A log that grows meanwhile does not make the reply longer."""
    try:
        position = part.first
        while position < part.end:
            piece = await asyncio.to_thread(os.pread, descriptor, min(_PIECE_BYTES, part.end - position), position)
            if not piece:
                return
            yield piece
            position += len(piece)
    finally:
        os.close(descriptor)


def _reply(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(message + "\n", status, headers={**_HEADERS, **(headers or {})})
