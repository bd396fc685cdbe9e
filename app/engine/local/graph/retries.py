"""Decide whether a node gets another attempt, and how long each attempt may take.

There are two retry budgets: the user's retries, and one for failures of the system. The node's timeout limits each
attempt. The first ten attempts that failed because the object store was unavailable spend neither budget.
`Budget.spend` decides. nodes/retry_loop.py asks it after each attempt of a task, `run_attempts` for other nodes.
Deviates: upstream also allows twice the timeout for all attempts together and reports the node TIMED_OUT then, so a
node with a timeout never gets more than two attempts (flyteorg/flyte#5368). Here retries=N gives N+1 attempts.
Source: flytepropeller pkg/controller/nodes/executor.go (isEligibleForRetry, execute).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from flyteidl.core import execution_pb2, literals_pb2, workflow_pb2

from app.engine.local.execution_error import error_of
from app.engine.local.graph.failures import NodeFailed
from app.engine.local.graph.state import NodeContext
from app.engine.local.processes.task_attempt import Failed
from app.wire.go.goparse import go_duration

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
    """Return the time limit of one attempt of a node in seconds; 0 without a limit."""
    return float(node.metadata.timeout.ToNanoseconds() / 1e9)


def expired(node: workflow_pb2.Node) -> Failed:
    """Return the failure of an attempt that exceeded the node's timeout."""
    shown = go_duration(node.metadata.timeout.ToNanoseconds())
    error = error_of("TimeoutExpired", f"task execution timeout [{shown}] expired")
    return Failed(error, retryable=True, late=True)


async def run_attempts(
    context: NodeContext,
    run_attempt: Callable[[int], Awaitable[literals_pb2.LiteralMap]],
    *,
    started_at: Callable[[int], Awaitable[float]],
    clean_up: Callable[[int], Awaitable[None]],
    fail: Callable[[NodeContext, execution_pb2.ExecutionError], Awaitable[NodeFailed]],
) -> literals_pb2.LiteralMap:
    """Run a node that is not a task until an attempt ends within the node's timeout; return its outputs.

    Args:
        context: The node.
        run_attempt: Runs an attempt.
        started_at: Returns when an earlier run of the execution started an attempt, in seconds since 1970, or 0.
        clean_up: Ends what an attempt that exceeded the timeout has left running.
        fail: Reports the node FAILED and returns the exception to raise.

    Raises:
        NodeFailed: When the node's events are sent.
    """
    timeout = timeout_seconds(context.node)
    if not timeout:
        return await run_attempt(0)
    budget = Budget(attempts_max=context.node.metadata.retries.retries + 1)
    attempt, began = 0, await started_at(0) or time.time()
    while later := await started_at(attempt + 1):
        budget.spend(expired(context.node))
        await clean_up(attempt)
        attempt, began = attempt + 1, later
    while True:
        left = max(began + timeout - time.time(), min(timeout, NODE_READ_SECONDS))
        try:
            async with asyncio.timeout(left) as clock:
                return await run_attempt(attempt)
        except TimeoutError:
            if not clock.expired():
                raise
        await clean_up(attempt)
        failed = expired(context.node)
        if not budget.spend(failed):
            raise await fail(context, budget.exhausted(failed))
        attempt, began = attempt + 1, time.time()
