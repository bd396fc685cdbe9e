"""Failed attempts of an unavailable object store: they are repeated, and the first ten of a node cost no retry.

A task reads its code and inputs from the store and writes its outputs and its error there. While the store is
unavailable, the process exits without an error document, or reports an error of its storage client. Such a failure
counts as one of the store if a call of this server to the store failed too, after the process was started. The failed
call is recorded in the attempt's directory, so that a restarted server reaches the same decision.
"""

from __future__ import annotations

import re

import structlog
from flyteidl.core import execution_pb2

from app.blobs import Unavailability
from app.engine.local.processes.task_attempt import Failed, RunningAttempt, storage_failure

log = structlog.get_logger(__name__)

_Kind = execution_pb2.ExecutionError
_RECORD = "storage-unavailable"
# Failures of a process that wrote neither an error nor outputs. Kills and exceeded limits have codes of their own.
_WITHOUT_DOCUMENT = frozenset({"Error", "OutputsNotFound"})
# Errors of flytekit's data access, and tracebacks that lead through a storage client.
_STORAGE_CLIENT = re.compile(
    r"(?:Download|Upload)DataE(?:rror|xception)\b|/(?:s3fs|gcsfs|adlfs|fsspec|aiobotocore|botocore|obstore)/"
)


def record(running: RunningAttempt, reason: str) -> None:
    """Record that the store was unavailable while an attempt ran, or when it had ended.

    Args:
        running: The attempt.
        reason: The error of the store.
    """
    path = running.folder / _RECORD
    try:
        path.write_text(reason)
    except OSError as error:
        # Without the record, a server that is restarted before the next attempt may count this one.
        log.warning("storage_failure_not_recorded", path=str(path), reason=str(error))


def judge(running: RunningAttempt, failed: Failed, unavailable: Unavailability | None) -> Failed:
    """Return the failure of an attempt, or a storage failure in its place if the store caused it.

    Args:
        running: The attempt, whose process has ended.
        failed: Its failure.
        unavailable: The last call of this server to the store that failed because the store was unavailable.
    """
    if not _may_come_from_store(failed):
        return failed
    reason = _recorded(running)
    if reason is None:
        if unavailable is None or unavailable.at < running.started_at:
            return failed
        reason = unavailable.reason
        record(running, reason)
    return storage_failure(failed, reason)


def _may_come_from_store(failed: Failed) -> bool:
    if failed.reported:
        return failed.error.kind != _Kind.USER or _STORAGE_CLIENT.search(failed.error.message) is not None
    return failed.error.code in _WITHOUT_DOCUMENT


def _recorded(running: RunningAttempt) -> str | None:
    try:
        return (running.folder / _RECORD).read_text()
    except FileNotFoundError:
        return None
