"""Decide whether a node gets another attempt, and how long each attempt may take.

There are two retry budgets: the user's retries, and one for failures of the system. The node's timeout limits each
attempt. The first ten attempts that failed because the object store was unavailable spend neither budget.
`Budget.spend` decides; `run_attempts` is the loop that asks it after each failed attempt. Two callers use the loop:
nodes/task_retries.py for tasks, and `run_within_timeout` for other nodes, whose attempts end early only by the timeout.
Deviates: upstream also allows twice the timeout for all attempts together and reports the node TIMED_OUT then, so a
node with a timeout never gets more than two attempts (flyteorg/flyte#5368). Here retries=N gives N+1 attempts.
Source: flytepropeller pkg/controller/nodes/executor.go (isEligibleForRetry, execute).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from flyteidl.core import execution_pb2, literals_pb2, workflow_pb2

from app.engine.local.execution_error import error_of
from app.engine.local.graph.ends import fail
from app.engine.local.graph.state import NodeContext
from app.engine.local.processes.task_attempt import Failed
from app.wire.go.goparse import go_duration

EndedT = TypeVar("EndedT")

SYSTEM_FAILURES_MAX = 3
# Further attempts that fail because the store was unavailable spend the system budget.
STORAGE_FAILURES_MAX = 10
# A node may have ended in time while no server ran: reading its child execution or its parts takes that long.
NODE_READ_SECONDS = 1.0
# The same for an attempt of a task, whose outcome is one file.
ATTEMPT_READ_SECONDS = 0.1


@dataclass(slots=True)
class Budget:
    """The retry budgets of one node: counts of failures and their limits."""

    attempts_max: int
    failures: int = 0
    system_failures: int = 0
    storage_failures: int = 0

    def spend(self, failed: Failed) -> bool:
        """Count a failure; return whether another attempt follows."""
        if failed.of_storage and self.storage_failures < STORAGE_FAILURES_MAX:
            self.storage_failures += 1
            return True
        self.failures += 1
        if failed.system:
            self.system_failures += 1
        if not failed.retryable:
            return False
        if failed.system:
            return self.system_failures <= SYSTEM_FAILURES_MAX
        return self.failures - self.system_failures < self.attempts_max

    def exhausted(self, failed: Failed) -> execution_pb2.ExecutionError:
        """Return the error of the node after its last attempt."""
        if not failed.retryable:
            return failed.error
        if failed.system:
            done, most, kind = SYSTEM_FAILURES_MAX, SYSTEM_FAILURES_MAX, "SYSTEM"
        else:
            done, most = self.failures - self.system_failures, self.attempts_max
            kind = execution_pb2.ExecutionError.ErrorKind.Name(failed.error.kind)
        message = f"[{done}/{most}] currentAttempt done. Last Error: {kind}::{failed.error.message}"
        # Parity: the kind of this error is USER, also after failures of the system.
        return error_of(f"RetriesExhausted|{failed.error.code}", message)


def timeout_seconds(node: workflow_pb2.Node) -> float:
    """Return the timeout of each attempt of a node in seconds; 0 without one."""
    return float(node.metadata.timeout.ToNanoseconds() / 1e9)


def attempt_timed_out(node: workflow_pb2.Node) -> Failed:
    """Return the failure of an attempt that exceeded the node's timeout."""
    shown = go_duration(node.metadata.timeout.ToNanoseconds())
    error = error_of("TimeoutExpired", f"task execution timeout [{shown}] expired")
    return Failed(error, retryable=True, timed_out=True)


@asynccontextmanager
async def time_limit(seconds: float | None) -> AsyncIterator[None]:
    """Cancel the block after a number of seconds and continue behind it; None sets no limit.

    A TimeoutError of the block itself is raised.
    """
    clock = asyncio.timeout(seconds)
    try:
        async with clock:
            yield
    except TimeoutError:
        if not clock.expired():
            raise


async def run_attempts(
    budget: Budget,
    run_attempt: Callable[[int], Awaitable[EndedT]],
    *,
    first: int = 0,
    before_retry: Callable[[int, Failed], Awaitable[None]] | None = None,
) -> EndedT:
    """Run attempts of a node until one does not fail or its failure leaves no retry; return how the last one ended.

    Args:
        budget: The retry budgets.
        run_attempt: Runs the attempt of a number and returns how it ended.
        first: The number of the first attempt to run.
        before_retry: Called with a failed attempt and its failure, before another attempt follows.
    """
    for attempt in count(first):
        ended = await run_attempt(attempt)
        if not isinstance(ended, Failed) or not budget.spend(ended):
            break
        if before_retry is not None:
            await before_retry(attempt, ended)
    return ended


async def run_within_timeout(
    context: NodeContext,
    run_attempt: Callable[[int], Awaitable[literals_pb2.LiteralMap]],
    *,
    started_at: Callable[[int], Awaitable[float]],
    clean_up: Callable[[int], Awaitable[None]],
    **fields: object,
) -> literals_pb2.LiteralMap:
    """Run a node that is not a task; return its outputs.

    Another attempt follows only after one that exceeded the node's timeout. Every other failure ends the node.

    Args:
        context: The node.
        run_attempt: Runs an attempt; raises NodeFailed after a failure.
        started_at: Returns when an earlier run of the execution started an attempt, in seconds since 1970, or 0.
        clean_up: Ends all parts that an attempt which exceeded the timeout has left running.
        **fields: Further fields of the node's FAILED event.

    Raises:
        NodeFailed: When the node's events are sent.
    """
    timeout = timeout_seconds(context.node)
    if not timeout:
        return await run_attempt(0)
    timed_out = attempt_timed_out(context.node)
    budget = Budget(attempts_max=context.node.metadata.retries.retries + 1)
    first, began = 0, await started_at(0) or time.time()
    while later := await started_at(first + 1):
        budget.spend(timed_out)
        await clean_up(first)
        first, began = first + 1, later

    async def run_in_time(attempt: int) -> literals_pb2.LiteralMap | Failed:
        nonlocal began
        async with time_limit(max(began + timeout - time.time(), min(timeout, NODE_READ_SECONDS))):
            return await run_attempt(attempt)
        await clean_up(attempt)
        began = time.time()
        return timed_out

    ended = await run_attempts(budget, run_in_time, first=first)
    if isinstance(ended, Failed):
        raise await fail(context, budget.exhausted(ended), **fields)
    return ended
