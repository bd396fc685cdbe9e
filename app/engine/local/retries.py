"""Whether a node tries again, and how long it may take.

Two budgets: the user's retries, and one for failures of the system. Two deadlines, both from the node's timeout T:
T for an attempt, and 2·T for all of them together.
Source: flytepropeller pkg/controller/nodes/executor.go (isEligibleForRetry, execute).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from flyteidl.core import execution_pb2, literals_pb2, workflow_pb2

from app.engine.local.attempts import Failed
from app.engine.local.failures import NodeFailed, error_of, timed_out
from app.engine.local.run import Site
from app.wire.goparse import go_duration

Node = execution_pb2.NodeExecution

SYSTEM_FAILURES_MAX = 3
# Of the time of one attempt, for all of them.
_ATTEMPTS_IN_TIME = 2
_LATE_SECONDS = 1.0
# Timers and the clock of the day differ by a little, which must not be worth another attempt.
_CLOCKS_SHARE = 0.02


@dataclass(slots=True)
class Budget:
    """What has failed so far, and whether another attempt is due."""

    attempts_max: int
    failures: int = 0
    system_failures: int = 0

    def spend(self, failed: Failed) -> bool:
        """Count a failure; whether the node tries again."""
        self.failures += 1
        if failed.system:
            self.system_failures += 1
        if not failed.retryable:
            return False
        if failed.system:
            return self.system_failures <= SYSTEM_FAILURES_MAX
        return self.failures - self.system_failures < self.attempts_max

    def exhausted(self, failed: Failed) -> execution_pb2.ExecutionError:
        """What the node reports when no attempt is left."""
        if not failed.retryable:
            return failed.error
        if failed.system:
            done, most, kind = SYSTEM_FAILURES_MAX, SYSTEM_FAILURES_MAX, "SYSTEM"
        else:
            done, most = self.failures - self.system_failures, self.attempts_max
            kind = execution_pb2.ExecutionError.ErrorKind.Name(failed.error.kind)
        message = f"[{done}/{most}] currentAttempt done. Last Error: {kind}::{failed.error.message}"
        # Parity: exhausted retries are the user's failure, whatever caused them.
        return error_of(f"RetriesExhausted|{failed.error.code}", message)


def timeout_seconds(node: workflow_pb2.Node) -> float:
    """How long one attempt of a node may take; 0 without a limit."""
    return float(node.metadata.timeout.ToNanoseconds() / 1e9)


def expired(node: workflow_pb2.Node) -> Failed:
    """The failure of an attempt that took too long."""
    shown = go_duration(node.metadata.timeout.ToNanoseconds())
    error = error_of("TimeoutExpired", f"task execution timeout [{shown}] expired")
    return Failed(error, retryable=True, late=True)


def seconds_left(timeout: float, *, attempt: float, earlier: float) -> float:
    """Until an attempt that has run for some seconds, after others that did, must end. Pure."""
    return min(timeout - attempt, _ATTEMPTS_IN_TIME * timeout - earlier - attempt)


def all_spent(timeout: float, spent: float) -> bool:
    """Whether all attempts together have taken what they may."""
    return spent >= (_ATTEMPTS_IN_TIME - _CLOCKS_SHARE) * timeout


async def report_timed_out(site: Site, **fields: object) -> NodeFailed:
    """Report TIMED_OUT; the exception to raise."""
    await site.run.report.node(site.event(Node.TIMED_OUT, input_uri=site.input_uri, **fields))
    return timed_out(site.node.id)


async def attempts(
    site: Site,
    once: Callable[[int], Awaitable[literals_pb2.LiteralMap]],
    *,
    ended: Callable[[int], Awaitable[None]],
    fail: Callable[[Site, execution_pb2.ExecutionError], Awaitable[NodeFailed]],
) -> literals_pb2.LiteralMap:
    """Attempt after attempt of a node that is no task, each cut off at its timeout; the outputs of the one that ends.

    shape:  once(attempt) runs one, ended(attempt) cleans up behind one that was cut off
    errors: NodeFailed, when the node's events are sent
    """
    timeout = timeout_seconds(site.node)
    if not timeout:
        return await once(0)
    budget = Budget(attempts_max=site.node.metadata.retries.retries + 1)
    known = site.known
    began = known.started_at if known is not None and known.started_at else time.time()
    # All but the last attempt take exactly their time, so the clock tells a new server which one to go on with.
    attempt = min(int((time.time() - began) / timeout), budget.attempts_max - 1, _ATTEMPTS_IN_TIME - 1)
    for earlier in range(attempt):
        budget.spend(expired(site.node))
        await ended(earlier)
    while not all_spent(timeout, attempt * timeout):
        # What was ready when the server was down is looked at before it counts as late.
        left = max(began + (attempt + 1) * timeout - time.time(), min(timeout, _LATE_SECONDS))
        try:
            async with asyncio.timeout(left) as clock:
                return await once(attempt)
        except TimeoutError:
            if not clock.expired():
                raise
        await ended(attempt)
        failed = expired(site.node)
        if not budget.spend(failed):
            raise await fail(site, budget.exhausted(failed))
        attempt += 1
    raise await report_timed_out(site)
