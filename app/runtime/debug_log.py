"""Lines that are written at `logger.level: debug` alone: each RPC with its code, time and request id.

Between `rpc_started` and `rpc_ended`, other lines of the call (SQL statements) carry its request id and RPC too.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog
from google.rpc import code_pb2

log = structlog.get_logger(__name__)
# A question to the standard library's logger takes 0.1 µs; a debug line that is dropped takes 4 µs.
_level = logging.getLogger(__name__)


def enabled() -> bool:
    """Return whether debug lines are written."""
    return _level.isEnabledFor(logging.DEBUG)


def write(log: Any, event: str, **values: Any) -> None:
    """Write a debug line with a module's logger, if debug lines are written."""
    if enabled():
        log.debug(event, **values)


def rpc_started(rpc: str, *, request_id: str, caller: str) -> None:
    """Log the start of a call, and bind its names to the lines that follow."""
    structlog.contextvars.bind_contextvars(rpc=rpc, request_id=request_id)
    log.debug("rpc_started", caller=caller)


def rpc_ended(code: int, seconds: float) -> None:
    """Log the end of a call with its gRPC code, and unbind its names."""
    log.debug("rpc_ended", code=code_pb2.Code.Name(code), ms=milliseconds(seconds))
    leave_call()


def leave_call() -> None:
    """Unbind the names of the call; an asyncio task that a call has started inherits them."""
    structlog.contextvars.unbind_contextvars("rpc", "request_id")


def rpc_answered_from_cache(rpc: str, seconds: float) -> None:
    """Log a call that got a cached reply, which has no request id yet."""
    log.debug("rpc_answered_from_cache", rpc=rpc, ms=milliseconds(seconds))


def milliseconds(seconds: float) -> float:
    """Return a time for a log line."""
    return round(seconds * 1000, 3)
