"""How a node or a whole execution ends other than well, as exceptions of the engine."""

from __future__ import annotations

from flyteidl.core import execution_pb2

_Kind = execution_pb2.ExecutionError


# Longer messages keep head and tail, as FlytePropeller reports them.
MESSAGE_BYTES_MAX = 100 * 1024


def error_of(code: str, message: str, kind: int = _Kind.USER) -> execution_pb2.ExecutionError:
    """An ExecutionError whose message fits an event."""
    raw = message.encode()
    if len(raw) > MESSAGE_BYTES_MAX:
        half = MESSAGE_BYTES_MAX // 2
        head, tail = raw[:half].decode(errors="ignore"), raw[-half:].decode(errors="ignore")
        message = f"{head}\n... the middle was left out ...\n{tail}"
    return execution_pb2.ExecutionError(code=code, message=message, kind=kind)


class NodeFailed(Exception):
    """A node ended FAILED or TIMED_OUT and its events are sent; error is what its parent and the workflow report."""

    def __init__(self, error: execution_pb2.ExecutionError, node_id: str = "", *, timed_out: bool = False) -> None:
        self.error = error
        self.node_id = node_id
        self.timed_out = timed_out
        super().__init__(error.message)


class NodeSkipped(Exception):
    """A node ended SKIPPED and its events are sent."""


class Stopped(Exception):
    """The execution was ended by others: nothing more is to be reported for it."""


class BindingFailed(Exception):
    """An input cannot be resolved; the message names the variable."""

    @property
    def error(self) -> execution_pb2.ExecutionError:
        """Return the error that the node reports."""
        return error_of("BindingResolutionFailure", str(self), execution_pb2.ExecutionError.SYSTEM)


class TooLarge(Exception):
    """Literals exceed storage.limits.maxDownloadMBs and are not stored; error is what their node reports."""

    def __init__(self, code: str, message: str) -> None:
        self.error = error_of(code, message)
        super().__init__(message)


def timed_out(node_id: str) -> NodeFailed:
    """What follows from a node that was TIMED_OUT, whose own events carry no error."""
    return NodeFailed(error_of("Timeout", "Timeout in node"), node_id, timed_out=True)
