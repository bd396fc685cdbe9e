"""Exceptions of the engine for nodes and executions that do not succeed.

NodeFailed      the node has failed or timed out, and its events are sent
NodeSkipped     the node was skipped, and its events are sent
ExecutionEnded  the execution was ended by a client or another server
LeaseLost       another server runs the execution
BindingFailed   an input of a node has no value
TooLarge        literals exceed the size limit
"""

from __future__ import annotations

from flyteidl.core import execution_pb2

from app.engine.local.execution_error import error_of


class NodeFailed(Exception):
    """A node ended FAILED or TIMED_OUT, and its events are sent.

    Args:
        error: The error that the parent node and the execution report.
        node_id: The node.
        timed_out: Whether the node ended TIMED_OUT.
    """

    def __init__(self, error: execution_pb2.ExecutionError, node_id: str = "", *, timed_out: bool = False) -> None:
        self.error = error
        self.node_id = node_id
        self.timed_out = timed_out
        super().__init__(error.message)


class NodeSkipped(Exception):
    """A node ended SKIPPED, and its events are sent."""


class ExecutionEnded(Exception):
    """A client or another server has ended the execution, so that no further event of it can be recorded."""


class LeaseLost(ExecutionEnded):
    """Another server has taken the lease of the execution: this one ends nothing of it and records nothing more."""


class BindingFailed(Exception):
    """An input of a node has no value; the message names the variable."""

    @property
    def error(self) -> execution_pb2.ExecutionError:
        """Return the error that the node reports."""
        return error_of("BindingResolutionFailure", str(self), execution_pb2.ExecutionError.SYSTEM)


class TooLarge(Exception):
    """Literals exceed storage.limits.maxDownloadMBs and were not stored. `error` is the error that the node reports."""

    def __init__(self, code: str, message: str) -> None:
        self.error = error_of(code, message)
        super().__init__(message)


def node_timed_out(node_id: str) -> NodeFailed:
    """Return the failure of a node that ended TIMED_OUT, whose recorded events hold no error."""
    return NodeFailed(error_of("Timeout", "Timeout in node"), node_id, timed_out=True)
