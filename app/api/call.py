"""One RPC call, whatever the transport, counted and timed.

Upstream spreads this over the interceptors of pkg/server/service.go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from google.protobuf.message import Message

from app import errors
from app.runtime.dispatch import Server, perform, run
from app.runtime.rows import Rpc
from app.wire.page import Listed

__all__ = ["Server", "invoke", "invoke_for_rows", "kept"]


def kept(server: Server, rpc: Rpc, key: tuple[Any, ...]) -> bytes | None:
    """The reply that was kept of an earlier call to an immutable RPC, counted and timed as a call; None without any.

    Versions of tasks and workflows are registered once and never changed or removed, so a reply that has been given
    is right for ever, whichever process registered the version. Only successful replies are kept: what is not found
    may be registered at any moment, by another process. Whatever RPC or command comes to change or delete a version,
    or hides it from some callers, must first take `immutable` from tags.toml, or else throw the replies away in every
    process of every server on that database, before it commits.
    shape: key: the RPC's name, how it was asked and is answered, and last all of the request that can tell in the reply
    """
    started = time.perf_counter()
    reply = server.kept.get(key)
    if reply is not None and server.metrics is not None:
        server.metrics.record(rpc.name, 0, time.perf_counter() - started)
    return reply


async def invoke(server: Server, rpc: Rpc, request: Message, **how: str) -> Message:
    """Run rpc's function in a unit of work, commit, then run its after-commit callbacks; count and time it all.

    shape:  how: of work.run
    errors: FlyteError of the function, of the database (app/database/base.py translates) or of the commit
    """
    response: Message = await _counted(server, rpc, perform(server, rpc.function, request, **how))
    return response


async def invoke_for_rows(server: Server, rpc: Rpc, request: Message, **how: str) -> Message | Listed[Message]:
    """The same, but a page of a list may come as its rows."""
    response: Message | Listed[Message] = await _counted(server, rpc, run(server, rpc.function, request, **how))
    return response


async def _counted(server: Server, rpc: Rpc, call: Awaitable[Any]) -> Any:
    started, code = time.perf_counter(), errors.Internal.code
    try:
        response = await call
        code = 0
        return response
    except errors.FlyteError as error:
        code = error.code
        raise
    except asyncio.CancelledError:
        code = errors.Canceled.code
        raise
    finally:
        if server.metrics is not None:
            server.metrics.record(rpc.name, code, time.perf_counter() - started)
