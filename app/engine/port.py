"""The port of execution engines: the calls that the control plane makes on an engine.

Three engines exist: `app.engine.local` (processes on this machine), `app.engine.kubernetes` (FlytePropeller) and
`NoEngine`. The control plane commits before it
calls an engine, so an engine may read the rows. Every call is a hint that is lost when the process ends: an engine
finds committed work by itself when it starts. Starting and stopping an engine is the task of `app.runtime.lifecycle`.
"""

from collections.abc import Awaitable
from typing import Any, Protocol, runtime_checkable

from flyteidl.core import identifier_pb2


class Engine(Protocol):
    """An execution engine. Its methods return at once; the engine works in the background.

    `launched` and `aborted` may return an awaitable, for which the call waits before it answers. A FlyteError of it is
    the answer of the call, although the commit stands.
    """

    def launched(
        self, execution: identifier_pb2.WorkflowExecutionIdentifier, *, wait: bool = False
    ) -> Awaitable[None] | None:
        """Run an execution that was committed. wait: whether the caller wants to know of a refusal."""

    def aborted(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> Awaitable[None] | None:
        """Abort an execution whose phase was set to ABORTING."""

    def signalled(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Let the gates of an execution read a signal that got a value."""


class NoEngine:
    """The engine of `engine.kind: none`: executions change only by the events that clients send."""

    def launched(self, execution: identifier_pb2.WorkflowExecutionIdentifier, *, wait: bool = False) -> None:
        """Do nothing."""

    def aborted(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Do nothing."""

    def signalled(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Do nothing."""


@runtime_checkable
class CallsConnectors(Protocol):
    """An engine that runs tasks by services (connectors)."""

    def connector_status(self) -> dict[str, Any]:
        """Return the services, as app/api/pages/connectors.py describes it."""
