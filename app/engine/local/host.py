"""The interface through which graphs and nodes use the process around them.

`LocalEngine` implements `Host` for a server; tests implement it without processes. Modules in graph/ and nodes/ import
this module and never the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from flyteidl.core import compiler_pb2, identifier_pb2

from app.database.base import UnitOfWork
from app.engine.local.connectors.runner import ConnectorRunner
from app.engine.local.processes.pool.process_pool import RunningProcess
from app.engine.local.processes.task_attempt import Outcome, PreparedAttempt, RunningAttempt, TaskAttempt

# Project, domain and name of an execution.
ExecutionKey: TypeAlias = tuple[str, str, str]


class AttemptRunner(Protocol):
    """Runs attempts of tasks as processes. A later server adopts processes that it did not start itself."""

    @property
    def processes_max(self) -> int:
        """Return how many processes of tasks may run at a time, sensors and eager tasks excepted."""

    async def waits_for(self, attempt: TaskAttempt) -> str:
        """Return what `prepare` has to make first, which may take minutes; "" for nothing.

        Raises:
            BlobError: The store cannot be read.
        """

    async def remove_abandoned_folders(self) -> None:
        """Remove the folders that killed servers have left behind."""

    async def prepare(self, attempt: TaskAttempt) -> PreparedAttempt:
        """Build the command of an attempt.

        Raises:
            CannotBuild: The attempt can never run as it is described.
            BlobError: The inputs cannot be read.
        """

    async def start(self, prepared: PreparedAttempt) -> RunningAttempt:
        """Start the process of an attempt as soon as the limit allows it, or return the one that already runs.

        Raises:
            CannotBuild: The system refuses the command.
            StartFailed: The system refuses a process.
        """

    async def adopt(self, attempt: TaskAttempt) -> RunningAttempt | None:
        """Return the process that was ever started for an attempt, running or ended; None without one."""

    async def wait(self, running: RunningAttempt) -> Outcome:
        """Wait until an attempt has ended and return its outcome.

        Raises:
            BlobError: The outcome cannot be read from the store.
        """

    async def kill(self, running: RunningProcess, *, grace_seconds: float | None = None) -> None:
        """End an attempt with all its processes, and return when they have ended."""

    async def kill_below(self, folder: Path) -> None:
        """End the attempts whose directories lie in the folder of a node."""

    async def close(self) -> None:
        """Start no more processes. Running processes continue, and a later server can adopt them."""


class Watch(Protocol):
    """Notifies nodes of changes that other executions, other servers or clients make."""

    def signal(self, execution: ExecutionKey, signal_id: str) -> AbstractContextManager[asyncio.Event]:
        """Return an event that is set each time when the signal may have got a value."""

    def end(self, execution: ExecutionKey) -> AbstractContextManager[asyncio.Event]:
        """Return an event that is set each time when the execution may have ended."""


class Host(Protocol):
    """The process that runs executions.

    Attributes:
        runner: Starts the processes of tasks.
        connectors: Runs tasks by services.
        watch: Notifies of signals and of the ends of child executions.
        platform: Environment variables through which a task finds this server.
        console_url: Base of the console's addresses; "" when there is no console.
    """

    runner: AttemptRunner
    connectors: ConnectorRunner
    watch: Watch
    platform: Mapping[str, str]
    console_url: str

    def is_running(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> bool:
        """Return whether this process still has to run the execution."""

    async def hold(self, unit: UnitOfWork, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Keep the lease of an execution until the end of a unit of work, after all other writes of it.

        Raises:
            LeaseLost: Another process has taken the lease, so this one may write nothing about the execution.
        """

    def home_of(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> Path:
        """Return the home folder below which the attempts of the execution lie. Another server may have chosen it."""

    def log_url(self, id: identifier_pb2.WorkflowExecutionIdentifier, node: str, attempt: int) -> str:
        """Return the address at which a browser finds the output of an attempt."""

    async def closure_of(self, workflow: Any) -> compiler_pb2.CompiledWorkflowClosure:
        """Read the compiled workflow of a row with `remote_closure_identifier` and `digest`. Nobody may change it.

        Raises:
            BlobError: The closure cannot be read.
        """
