"""One RPC call, whatever the transport, counted and timed.

Upstream spreads this over the interceptors of pkg/server/service.go.
"""

from __future__ import annotations

import asyncio
import time

from google.protobuf.message import Message

from app import errors
from app.api.rows import Rpc
from app.work import Server, perform

__all__ = ["Server", "invoke"]


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
