"""Errors of tasks, nodes and executions as events report them."""

from __future__ import annotations

from flyteidl.core import execution_pb2

_Kind = execution_pb2.ExecutionError

# A longer message is cut in the middle, as FlytePropeller does.
MESSAGE_BYTES_MAX = 100 * 1024


def error_of(code: str, message: str, kind: int = _Kind.USER) -> execution_pb2.ExecutionError:
    """Return an ExecutionError; its message is cut in the middle when it exceeds MESSAGE_BYTES_MAX."""
    raw = message.encode()
    if len(raw) > MESSAGE_BYTES_MAX:
        half = MESSAGE_BYTES_MAX // 2
        head, tail = raw[:half].decode(errors="ignore"), raw[-half:].decode(errors="ignore")
        message = f"{head}\n... the middle was left out ...\n{tail}"
    return execution_pb2.ExecutionError(code=code, message=message, kind=kind)
