"""A service function's call, whoever makes it: context, unit of work, commit, what follows the commit.

The edge, the engines and the scheduler all call service functions through `perform`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, overload

import structlog

from app.cache import Kept
from app.database.base import Database
from app.engine.port import Engine
from app.runtime.context import Context
from app.wire.page import Listed, PageT

if TYPE_CHECKING:
    from app.blobs import Blobs
    from app.runtime.metrics import Book
    from app.settings import Settings

log = structlog.get_logger(__name__)

Response = TypeVar("Response")


@dataclass(slots=True)
class Server:
    """What lives as long as the process; app/main.py makes the only one.

    kept: JSON that was shown and whole replies (call.kept), for all who show them, so that limits.kept_json_bytes_max
          bounds the process
    """

    settings: Settings
    database: Database
    blobs: Blobs
    engine: Engine
    metrics: Book | None = None
    kept: Kept = field(init=False)

    def __post_init__(self) -> None:
        self.kept = Kept(self.settings.limits.kept_json_bytes_max)


@overload
async def perform(
    server: Server, function: Callable[[Context, Any], Awaitable[Listed[PageT]]], request: Any, **how: str
) -> PageT: ...


@overload
async def perform(
    server: Server, function: Callable[[Context, Any], Awaitable[Response]], request: Any, **how: str
) -> Response: ...


async def perform(server: Server, function: Callable[[Context, Any], Awaitable[Any]], request: Any, **how: str) -> Any:
    """As run, with the whole message of a page."""
    response = await run(server, function, request, **how)
    return response.message() if isinstance(response, Listed) else response


async def run(
    server: Server,
    function: Callable[[Context, Any], Awaitable[Response]],
    request: Any,
    *,
    principal: str = "",
    request_id: str = "",
    endpoint: str = "",
) -> Response:
    """Run function in a unit of work, commit, then run its after-commit callbacks.

    errors: FlyteError of the function, of the database (app/database/base.py translates) or of the commit
    """
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
        response = await function(ctx, request)
    for callback in ctx.callbacks:
        try:
            outcome = callback()
            if inspect.isawaitable(outcome):
                await outcome
        except Exception:
            # The commit stands and the client must hear so; an engine finds committed work again by itself.
            log.exception("after_commit_failed", function=function.__name__, request_id=request_id)
    return response
