"""Python functions in place of the processes of tasks, so that executions run in this process within milliseconds."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from flyteidl.core import dynamic_job_pb2, execution_pb2, literals_pb2

from app.blobs import Blobs
from app.engine.local.execution_error import error_of
from app.engine.local.processes.environments.choice import Choice
from app.engine.local.processes.pool.foreign_process import ForeignProcess
from app.engine.local.processes.pool.process_pool import RunningProcess
from app.engine.local.processes.task_attempt import (
    Dynamic,
    Failed,
    Killed,
    Outcome,
    PreparedAttempt,
    RunningAttempt,
    Succeeded,
    TaskAttempt,
)
from tests.engine.conftest import literal_map

_Kind = execution_pb2.ExecutionError


def boom(message: str = "boom", *, kind: int = _Kind.USER, retryable: bool = False) -> Failed:
    """The outcome of an attempt that fails."""
    return Failed(error_of("USER:RuntimeError", message, kind), retryable=retryable)


def plain(literal: literals_pb2.Literal) -> Any:
    """The plain value of a literal: a primitive, None, a list, or the message itself."""
    match literal.WhichOneof("value"):
        case "collection":
            return [plain(one) for one in literal.collection.literals]
        case "scalar" if literal.scalar.WhichOneof("value") == "primitive":
            primitive = literal.scalar.primitive
            return getattr(primitive, primitive.WhichOneof("value"))
        case "scalar" if literal.scalar.WhichOneof("value") == "none_type":
            return None
    return literal


class FakeRunner:
    """Implements AttemptRunner. It outlives engines, as the processes of tasks outlive servers.

    Every task is a function of its inputs, by the task's name. A function returns a dict of outputs, an outcome, or a
    DynamicJobSpec; it may take the attempt under the name `attempt`, and it may be a coroutine function that waits.
    """

    processes_max = 2

    def __init__(self, blobs: Blobs, tasks: dict[str, Callable[..., Any]]) -> None:
        self.blobs = blobs
        self.tasks = tasks
        self.attempts: dict[str, TaskAttempt] = {}
        self.starts: list[str] = []
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._started_at: dict[str, float] = {}

    @property
    def alive(self) -> list[str]:
        """The attempts that have not ended."""
        return [name for name, task in self._running.items() if not task.done()]

    async def remove_abandoned_folders(self) -> None:
        return None

    async def waits_for(self, attempt: TaskAttempt) -> str:
        return ""

    async def prepare(self, attempt: TaskAttempt) -> PreparedAttempt:
        return cast(PreparedAttempt, SimpleNamespace(attempt=attempt, choice=Choice(), notices=()))

    async def start(self, prepared: PreparedAttempt) -> RunningAttempt:
        run = prepared.attempt
        if run.generated_name not in self._running:
            self.starts.append(run.generated_name)
            self.attempts[run.generated_name] = run
            self._started_at[run.generated_name] = time.time()
            self._running[run.generated_name] = asyncio.create_task(self._outcome(run))
        return self._handle(run)

    async def adopt(self, attempt: TaskAttempt) -> RunningAttempt | None:
        return self._handle(attempt) if attempt.generated_name in self._running else None

    async def wait(self, running: RunningAttempt) -> Outcome:
        task = self._running[running.first.stamp]
        await asyncio.wait((task,))
        return Killed() if task.cancelled() else task.result()

    async def kill(self, running: RunningProcess, *, grace_seconds: float | None = None) -> None:
        task = self._running[running.first.stamp]
        task.cancel()
        await asyncio.wait((task,))

    async def kill_below(self, folder: Path) -> None:
        for name in self.alive:
            if self.attempts[name].directory.is_relative_to(folder):
                await self.kill(self._handle(self.attempts[name]))

    async def close(self) -> None:
        return None

    def _handle(self, run: TaskAttempt) -> RunningAttempt:
        process = ForeignProcess(0, run.generated_name)
        started_at = self._started_at[run.generated_name]
        return RunningAttempt(
            folder=run.directory, supervisor=process, first=process, started_at=started_at, attempt=run
        )

    async def _outcome(self, run: TaskAttempt) -> Outcome:
        given = literals_pb2.LiteralMap.FromString(await self.blobs.read(run.input_uri, bytes_max=0))
        inputs = {name: plain(value) for name, value in given.literals.items()}
        if run.array_index is not None:
            inputs = {
                name: value[run.array_index] if isinstance(value, list) else value for name, value in inputs.items()
            }
        function = self.tasks[run.task.id.name]
        if "attempt" in inspect.signature(function).parameters:
            inputs["attempt"] = run
        result = function(**inputs)
        if isinstance(result, Awaitable):
            result = await result
        if isinstance(result, dynamic_job_pb2.DynamicJobSpec):
            uri = f"{run.output_prefix}/futures.pb"
            await self.blobs.write(uri, result.SerializeToString())
            return Dynamic(uri, result)
        if not isinstance(result, dict):
            return cast(Outcome, result)
        outputs = literal_map(result)
        if not outputs.literals:
            return Succeeded("", outputs)
        uri = f"{run.output_prefix}/outputs.pb"
        await self.blobs.write(uri, outputs.SerializeToString())
        return Succeeded(uri, outputs)
