"""One RPC call, whatever the transport: context, unit of work, commit, what follows the commit.

Upstream spreads this over the interceptors of pkg/server/service.go.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from google.protobuf.message import Message

from app import errors
from app.api.rows import Rpc
from app.context import Context
from app.db import Database
from app.engine.port import Engine

if TYPE_CHECKING:
    from app.blobs import Blobs
    from app.metrics import Book
    from app.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Server:
    """What lives as long as the process; app/main.py makes the only one."""

    settings: Settings
    database: Database
    blobs: Blobs
    engine: Engine
    metrics: Book | None = None


async def invoke(
    server: Server, rpc: Rpc, request: Message, *, principal: str = "", request_id: str = "", endpoint: str = ""
) -> Message:
    """Run rpc's function in a unit of work, commit, then run its after-commit callbacks; count and time it all.

    errors: FlyteError of the function, of the database (app/db.py translates) or of the commit
    """
    started, code = time.perf_counter(), errors.Internal.code
    try:
        response = await _run(server, rpc, request, principal, request_id, endpoint)
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


async def _run(server: Server, rpc: Rpc, request: Message, principal: str, request_id: str, endpoint: str) -> Message:
    async with server.database.unit_of_work() as unit:
        ctx = Context(
            principal=principal,
            now=datetime.now(UTC),
            settings=server.settings,
            db=unit,
            blobs=server.blobs,
            engine=server.engine,
            request_id=request_id,
            endpoint=endpoint,
        )
        response = await rpc.function(ctx, request)
    for callback in ctx.callbacks:
        try:
            outcome = callback()
            if inspect.isawaitable(outcome):
                await outcome
        except Exception:
            # The commit stands and the client must hear so; an engine finds committed work again by itself.
            log.exception("after_commit_failed", rpc=rpc.name, request_id=request_id)
    return response
