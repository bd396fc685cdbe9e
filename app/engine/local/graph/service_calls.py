"""Call functions of the control plane from the engine: retried while the database is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from app import errors
from app.runtime.dispatch import Server, perform

# The errors that a later call may not meet.
RETRIED = (errors.Unavailable, errors.Aborted, errors.DeadlineExceeded)
_CALLS_MAX = 6
_PAUSE_SECONDS = 0.05
_BACKOFF = 3.0

Response = TypeVar("Response")


async def with_retries(server: Server, function: Callable[[Any, Any], Awaitable[Response]], request: Any) -> Response:
    """Call a service function; repeat the call after an error that a later call may not meet (`RETRIED`).

    The pause between two calls starts at 50 ms and grows threefold; the error of the sixth call is raised. A call is
    finished even when the caller is cancelled.
    """
    return await _repeated(lambda: _uninterrupted(perform(server, function, request)))


async def with_retries_cancellable(
    server: Server,
    function: Callable[[Any, Any], Awaitable[Response]],
    request: Any,
    *,
    again: Callable[[Any, Any], Awaitable[Response]] | None = None,
) -> Response:
    """Call a service function as `with_retries` does, from a coroutine that only the end of the event loop cancels.

    Args:
        server: The objects of this process.
        function: The service function.
        request: Its request.
        again: The function of later calls: an earlier one may have had its effect, and lost only its answer.
    """
    return await _repeated(
        lambda: perform(server, function, request), lambda: perform(server, again or function, request)
    )


async def _repeated(
    call: Callable[[], Awaitable[Response]], again: Callable[[], Awaitable[Response]] | None = None
) -> Response:
    pause = _PAUSE_SECONDS
    for _ in range(_CALLS_MAX - 1):
        try:
            return await call()
        except RETRIED:
            await asyncio.sleep(pause)
        pause *= _BACKOFF
        call = again or call
    return await call()


async def _uninterrupted(call: Coroutine[Any, Any, Response]) -> Response:
    """Finish a call even when the caller is cancelled; raise the cancellation afterwards."""
    task = asyncio.ensure_future(call)
    # Retrieve the error here too: a second cancellation of the caller would leave it unretrieved.
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise
