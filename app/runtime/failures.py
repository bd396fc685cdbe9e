"""Failures that are not the caller's fault: of this server, its database, its storage or its system.

A class of failures is a code and a cause. The first failure of a class is logged at once, the later ones at most once
a minute, with the cause and a request id.
"""

from __future__ import annotations

from app import errors, limited_log

_SERVER_FAULTS = frozenset({errors.Unknown.code, errors.Internal.code, errors.Unavailable.code})
# Limits and deadlines are usually the caller's. A full disk and a statement that ran too long are not.
_MAYBE_SERVER_FAULTS = frozenset({errors.ResourceExhausted.code, errors.DeadlineExceeded.code})
_DRIVERS = ("psycopg", "sqlite3")


def as_flyte_error(error: Exception, *, rpc: str, request_id: str) -> errors.FlyteError:
    """Return the error that the caller receives; log it where the server is at fault.

    Args:
        error: An error that was raised while a call was served.
        rpc: The gRPC path of the RPC.
        request_id: The id of the call.
    """
    if isinstance(error, errors.FlyteError):
        record(error, rpc=rpc, request_id=request_id)
        return error
    key = (type(error), _place(error))
    limited_log.error("rpc_failed", key=key, rpc=rpc, request_id=request_id, exc_info=error)
    # Parity: the caller learns nothing of an unexpected exception (upstream's recovery interceptor).
    return errors.Internal("")


def record(error: errors.FlyteError, *, rpc: str, request_id: str) -> None:
    """Log an error of the server's own fault, once: an error that passes several layers is logged by the first."""
    cause = _first_cause(error)
    if not _is_server_fault(error, cause) or getattr(error, "_recorded", False):
        return
    error._recorded = True  # type: ignore[attr-defined]
    number = getattr(cause, "sqlstate", None) or getattr(cause, "errno", None)
    limited_log.error(
        "call_failed",
        key=(error.code, type(cause), number, _place(cause)),
        rpc=rpc,
        request_id=request_id,
        code=type(error).__name__,
        error=error.message,
        cause="" if cause is error else f"{type(cause).__name__}: {cause}".strip(),
    )


def _is_server_fault(error: errors.FlyteError, cause: BaseException) -> bool:
    if error.code in _SERVER_FAULTS:
        # An INTERNAL error without a text stands for an unexpected exception, which has been logged.
        return bool(error.message)
    if error.code not in _MAYBE_SERVER_FAULTS or isinstance(cause, TimeoutError):
        return False
    return isinstance(cause, OSError) or type(cause).__module__.startswith(_DRIVERS)


def _first_cause(error: BaseException) -> BaseException:
    # A timeout is raised from the cancellation that enforces it, which has no text.
    while error.__cause__ is not None and not isinstance(error, TimeoutError):
        error = error.__cause__
    return error


def _place(error: BaseException) -> tuple[str, int]:
    """Return file and line that raised the error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ("", 0)
