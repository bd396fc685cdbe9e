"""One RPC call, whatever the transport, counted and timed.

Upstream spreads this over the interceptors of pkg/server/service.go.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from google.protobuf.message import Message

from app import errors
from app.api.rows import Rpc
from app.work import Server, perform

__all__ = ["Server", "invoke", "kept"]


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


async def invoke(
    server: Server, rpc: Rpc, request: Message, *, principal: str = "", request_id: str = "", endpoint: str = ""
) -> Message:
    """Run rpc's function in a unit of work, commit, then run its after-commit callbacks; count and time it all.

    errors: FlyteError of the function, of the database (app/db.py translates) or of the commit
    """
    started, code = time.perf_counter(), errors.Internal.code
    try:
        response = await perform(
            server, rpc.function, request, principal=principal, request_id=request_id, endpoint=endpoint
        )
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
