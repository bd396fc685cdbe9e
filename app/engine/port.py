"""What the control plane asks of an engine, and nothing else.

Two engines exist: local (processes on this machine) and none (whoever posts events drives the
executions). The control plane has
committed before it calls any of these, so an engine may look the rows up. Every call is a hint that
may be lost with the process: an engine finds committed work by itself when it starts.
"""

from typing import Protocol

from flyteidl.core import identifier_pb2


class Engine(Protocol):
    """launched, aborted and signalled return at once; the work goes on in the background."""

    async def start(self) -> None:
        """Begin to serve; pick up what was committed and is not placed."""

    async def stop(self) -> None:
        """Stop taking work; running tasks may go on and are adopted at the next start."""

    def launched(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """An execution was committed and waits to be run."""

    def aborted(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """An execution was set to ABORTING."""

    def signalled(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """A signal of the execution got a value."""


class NoEngine:
    """Records only: executions stay where the events of others put them (`engine: none`)."""

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        return None

    def launched(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        return None

    def aborted(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        return None

    def signalled(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        return None
