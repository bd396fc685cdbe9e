"""Budgets of attempts, against upstream's rules spelled out another way, and the timeouts of attempts."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from flyteidl.core import execution_pb2, literals_pb2, workflow_pb2
from hypothesis import given
from hypothesis import strategies as st

from app.engine.local.execution_error import error_of
from app.engine.local.graph.failures import NodeFailed
from app.engine.local.graph.retries import Budget, attempt_timed_out, run_within_timeout, time_limit, timeout_seconds
from app.engine.local.processes.task_attempt import Failed

_Kind = execution_pb2.ExecutionError
Node = execution_pb2.NodeExecution
USER = Failed(error_of("Code", "text", _Kind.USER), retryable=True)
UNKNOWN = Failed(error_of("Code", "text", _Kind.UNKNOWN), retryable=True)
SYSTEM = Failed(error_of("Code", "text", _Kind.SYSTEM), retryable=True)
PERMANENT = Failed(error_of("Code", "text", _Kind.USER), retryable=False)


@given(st.integers(1, 5), st.lists(st.sampled_from([USER, UNKNOWN, SYSTEM, PERMANENT]), max_size=12))
def test_each_kind_of_failure_has_its_own_budget(attempts_max: int, failures: list[Failed]) -> None:
    budget, of_user, of_system = Budget(attempts_max=attempts_max), 0, 0
    for failed in failures:
        of_system += failed is SYSTEM
        of_user += failed is not SYSTEM
        again = budget.spend(failed)
        assert again == (failed.retryable and (of_system <= 3 if failed is SYSTEM else of_user < attempts_max))
        if not again:
            return


@pytest.mark.parametrize(
    ("attempts_max", "failures", "code", "message"),
    [
        (1, [USER], "RetriesExhausted|Code", "[1/1] currentAttempt done. Last Error: USER::text"),
        (2, [USER, USER], "RetriesExhausted|Code", "[2/2] currentAttempt done. Last Error: USER::text"),
        (2, [SYSTEM, USER, USER], "RetriesExhausted|Code", "[2/2] currentAttempt done. Last Error: USER::text"),
        (1, [UNKNOWN], "RetriesExhausted|Code", "[1/1] currentAttempt done. Last Error: UNKNOWN::text"),
        (1, [SYSTEM] * 4, "RetriesExhausted|Code", "[3/3] currentAttempt done. Last Error: SYSTEM::text"),
        (9, [PERMANENT], "Code", "text"),
    ],
)
def test_the_error_of_the_node_names_its_budget(
    attempts_max: int, failures: list[Failed], code: str, message: str
) -> None:
    budget = Budget(attempts_max=attempts_max)
    assert [budget.spend(failed) for failed in failures] == [True] * (len(failures) - 1) + [False]
    error = budget.exhausted(failures[-1])
    assert (error.code, error.message, error.kind) == (code, message, _Kind.USER)


class Gate:
    """A node that is no task; begun: when an earlier server began its attempts, as seconds before now."""

    def __init__(self, *, timeout: float, retries: int, begun: tuple[float, ...] = ()) -> None:
        node = workflow_pb2.Node(id="n0")
        node.metadata.timeout.FromNanoseconds(int(timeout * 1e9))
        node.metadata.retries.retries = retries
        self.reported: list[dict[str, Any]] = []
        self.context: Any = SimpleNamespace(
            node=node,
            event=lambda phase, **fields: {"phase": phase, **fields},
            execution=SimpleNamespace(events=SimpleNamespace(send=self._send)),
        )
        self.ran: list[int] = []
        self.cleaned: list[int] = []
        self._begun = [time.time() - ago for ago in begun]

    async def _send(self, *events: dict[str, Any]) -> None:
        self.reported.extend(events)

    async def run(self, *seconds: float) -> str:
        """Run attempts that take so long each; "done", or the error."""

        async def run_attempt(attempt: int) -> literals_pb2.LiteralMap:
            self.ran.append(attempt)
            await asyncio.sleep(seconds[attempt])
            return literals_pb2.LiteralMap()

        async def started_at(attempt: int) -> float:
            return self._begun[attempt] if attempt < len(self._begun) else 0.0

        async def clean_up(attempt: int) -> None:
            self.cleaned.append(attempt)

        try:
            await run_within_timeout(
                self.context, run_attempt, started_at=started_at, clean_up=clean_up, is_parent=True
            )
        except NodeFailed as failed:
            return f"{failed.error.code}: {failed.error.message}"
        return "done"


def test_every_attempt_has_the_whole_timeout() -> None:
    gate = Gate(timeout=0.1, retries=4)
    assert asyncio.run(gate.run(9, 9, 9, 9, 0.01)) == "done"
    assert (gate.ran, gate.cleaned) == ([0, 1, 2, 3, 4], [0, 1, 2, 3])


def test_no_attempt_follows_the_last_retry() -> None:
    gate = Gate(timeout=0.1, retries=2)
    expired = "[3/3] currentAttempt done. Last Error: USER::task execution timeout [100ms] expired"
    assert asyncio.run(gate.run(9, 9, 9)) == f"RetriesExhausted|TimeoutExpired: {expired}"
    assert gate.ran == gate.cleaned == [0, 1, 2]
    assert [(event["phase"], event["is_parent"]) for event in gate.reported] == [(Node.FAILED, True)]


def test_a_restarted_server_goes_on_with_the_attempt_that_ran() -> None:
    """The time of the attempt passes while no server runs; attempts that no server started follow."""
    gate = Gate(timeout=0.2, retries=3, begun=(9.0, 0.15))
    assert asyncio.run(gate.run(0, 9, 9, 0.01)) == "done"
    assert (gate.ran, gate.cleaned) == ([1, 2, 3], [0, 1, 2])


@pytest.mark.parametrize(("nanoseconds", "shown"), [(10**9, "1s"), (1_500_000_000, "1.5s"), (3600 * 10**9, "1h0m0s")])
def test_a_timeout_is_written_as_go_writes_durations(nanoseconds: int, shown: str) -> None:
    node = workflow_pb2.Node()
    node.metadata.timeout.FromNanoseconds(nanoseconds)
    assert timeout_seconds(node) == nanoseconds / 1e9
    failed = attempt_timed_out(node)
    assert failed.error.message == f"task execution timeout [{shown}] expired"
    assert (failed.error.code, failed.retryable, failed.system) == ("TimeoutExpired", True, False)


def test_a_time_limit_lets_the_errors_of_its_block_pass() -> None:
    async def main() -> None:
        async with time_limit(0.01):
            await asyncio.sleep(9)
        with pytest.raises(TimeoutError):
            async with time_limit(9):
                raise TimeoutError
        async with time_limit(None):
            await asyncio.sleep(0)

    started = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - started < 5
