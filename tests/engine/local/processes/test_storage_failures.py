"""Failures of attempts that the object store caused, which use no retry."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flyteidl.core import execution_pb2

from app.blobs import Unavailability
from app.engine.local.execution_error import error_of
from app.engine.local.graph.retries import STORAGE_FAILURES_MAX, SYSTEM_FAILURES_MAX, Budget
from app.engine.local.processes import storage_failures
from app.engine.local.processes.task_attempt import STORAGE_FAILURE, Failed, storage_failure

USER, SYSTEM, UNKNOWN = (
    execution_pb2.ExecutionError.USER,
    execution_pb2.ExecutionError.SYSTEM,
    execution_pb2.ExecutionError.UNKNOWN,
)
STARTED = time.time()
DURING, BEFORE = Unavailability(STARTED + 1, "503"), Unavailability(STARTED - 1, "503")
EXITED = Failed(error_of("Error", "exit code (1)"), retryable=True)


def running(folder: Path) -> Any:
    return SimpleNamespace(started_at=STARTED, folder=folder)


def reported(code: str, message: str, kind: execution_pb2.ExecutionError.ErrorKind) -> Failed:
    return Failed(error_of(code, message, kind), retryable=False, reported=True)


@pytest.mark.parametrize(
    ("failed", "of_storage"),
    [
        (EXITED, True),
        (Failed(error_of("OutputsNotFound", "none", UNKNOWN), retryable=True), True),
        (reported("SYSTEM", "Traceback", SYSTEM), True),
        (reported("SYSTEM", "Traceback", UNKNOWN), True),
        (reported("USER:RuntimeError", "SYSTEM:DownloadDataError: error=Failed to get data", USER), True),
        (reported("USER:RuntimeError", 'File "/lib/site-packages/s3fs/core.py", line 1', USER), True),
        (reported("USER:RuntimeError", "ValueError: no", USER), False),
        (Failed(error_of("OOMKilled", "137"), retryable=True), False),
        (Failed(error_of("Interrupted", "137", SYSTEM), retryable=True), False),
        (Failed(error_of("DiskFull", "full"), retryable=False), False),
        (Failed(error_of("OutputsBadFormat", "bad"), retryable=True), False),
    ],
)
def test_only_errors_that_the_store_can_cause_are_failures_of_the_store(
    tmp_path: Path, failed: Failed, of_storage: bool
) -> None:
    judged = storage_failures.judge(running(tmp_path), failed, DURING)
    assert judged.of_storage is of_storage
    if of_storage:
        assert (judged.error.code, judged.retryable) == (STORAGE_FAILURE, True)
        assert failed.error.message in judged.error.message
    else:
        assert judged == failed


@pytest.mark.parametrize("noted", [None, BEFORE])
def test_a_failure_while_the_store_answered_uses_a_retry(tmp_path: Path, noted: Unavailability | None) -> None:
    assert storage_failures.judge(running(tmp_path), EXITED, noted) == EXITED


def test_a_restarted_server_decides_as_the_one_before(tmp_path: Path) -> None:
    before = storage_failures.judge(running(tmp_path), EXITED, DURING)
    assert before.of_storage
    assert storage_failures.judge(running(tmp_path), EXITED, None) == before


def test_failures_of_the_store_spend_no_budget_and_have_an_end() -> None:
    budget, failed = Budget(attempts_max=1), storage_failure(EXITED, "503")
    for _ in range(STORAGE_FAILURES_MAX):
        assert budget.spend(failed)
    assert (budget.failures, budget.system_failures) == (0, 0)
    assert [budget.spend(failed) for _ in range(SYSTEM_FAILURES_MAX + 1)] == [True] * SYSTEM_FAILURES_MAX + [False]
