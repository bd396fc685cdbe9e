"""Budgets of attempts, against upstream's rules spelled out another way, and the arithmetic of deadlines."""

from __future__ import annotations

import pytest
from flyteidl.core import execution_pb2, workflow_pb2
from hypothesis import given
from hypothesis import strategies as st

from app.engine.local.attempts import Failed
from app.engine.local.failures import error_of
from app.engine.local.retries import Budget, all_spent, expired, seconds_left, timeout_seconds

_Kind = execution_pb2.ExecutionError
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
def test_what_the_node_reports_in_the_end(attempts_max: int, failures: list[Failed], code: str, message: str) -> None:
    budget = Budget(attempts_max=attempts_max)
    assert [budget.spend(failed) for failed in failures] == [True] * (len(failures) - 1) + [False]
    error = budget.exhausted(failures[-1])
    assert (error.code, error.message, error.kind) == (code, message, _Kind.USER)


@given(
    st.floats(0.1, 1e6),
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
def test_no_attempt_and_not_all_together_outlast_their_time(timeout: float, shares: list[float]) -> None:
    earlier = 0.0
    for share in shares:
        ran = share * timeout
        left = seconds_left(timeout, attempt=ran, earlier=earlier)
        assert ran + left <= timeout * 1.001
        assert earlier + ran + left <= 2 * timeout * 1.001
        assert left > 0 or ran >= timeout * 0.999 or all_spent(timeout, (earlier + ran) * 1.001)
        earlier += ran


@given(st.floats(0.1, 1e6), st.floats(-0.005, 0.005), st.floats(-0.005, 0.005))
def test_clocks_that_differ_a_little_are_not_worth_a_third_attempt(timeout: float, first: float, second: float) -> None:
    spent = timeout * (1 + first)
    assert not all_spent(timeout, spent)
    spent += seconds_left(timeout, attempt=0.0, earlier=spent) * (1 + second)
    assert all_spent(timeout, spent)


@pytest.mark.parametrize(("nanoseconds", "shown"), [(10**9, "1s"), (1_500_000_000, "1.5s"), (3600 * 10**9, "1h0m0s")])
def test_a_timeout_is_told_as_go_prints_it(nanoseconds: int, shown: str) -> None:
    node = workflow_pb2.Node()
    node.metadata.timeout.FromNanoseconds(nanoseconds)
    assert timeout_seconds(node) == nanoseconds / 1e9
    failed = expired(node)
    assert failed.error.message == f"task execution timeout [{shown}] expired"
    assert (failed.error.code, failed.retryable, failed.system) == ("TimeoutExpired", True, False)
