"""The port of execution engines: the calls that the control plane makes on an engine.

Two engines exist: `app.engine.local` (processes on this machine) and `NoEngine`. The control plane commits before it
calls an engine, so an engine may read the rows. Every call is a hint that is lost when the process ends: an engine
finds committed work by itself when it starts. Starting and stopping an engine is the task of `app.runtime.lifecycle`.
"""

from typing import Protocol

from flyteidl.core import identifier_pb2


class Engine(Protocol):
    """An execution engine. Its methods return at once; the engine works in the background."""

    def launched(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Run an execution that was committed."""

    def aborted(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Abort an execution whose phase was set to ABORTING."""

    def signalled(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Let the gates of an execution read a signal that got a value."""


class NoEngine:
    """The engine of `engine.kind: none`: executions change only by the events that clients send."""

    def launched(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Do nothing."""

    def aborted(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Do nothing."""

    def signalled(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Do nothing."""
