"""Failed attempts whose cause is an object store that was unavailable: they are repeated and cost no retry.

A task reads its code and inputs from the store and writes its outputs and its error there. While the store is away,
its process exits without an error document, or reports an error of its storage client. Two conditions make such a
failure one of the store: the error can come from the store, and a call of this server to the store failed after the
process was started. That call is recorded in the attempt's folder, so that a restarted server judges as this one did.
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


def remember(running: RunningAttempt, reason: str) -> None:
    """Record that the store was unavailable while an attempt ran, or when it had ended.

    Args:
        running: The attempt.
        reason: How the store failed.
    """
    record = running.run.directory / _RECORD
    try:
        record.write_text(reason)
    except OSError as error:
        # Without the record, a server that is restarted before the next attempt may count this one.
        log.warning("storage_failure_not_recorded", path=str(record), reason=str(error))


def judge(running: RunningAttempt, failed: Failed, noted: Unavailability | None) -> Failed:
    """Return the failure of an attempt, as a failure of the store where the store caused it.

    Args:
        running: The attempt, whose process has ended.
        failed: How the attempt failed.
        noted: The last call to the store that failed for a reason that may pass.
    """
    if not _may_come_from_store(failed):
        return failed
    reason = _recorded(running)
    if reason is None:
        if noted is None or noted.at < running.started_at:
            return failed
        reason = noted.reason
        remember(running, reason)
    return storage_failure(failed, reason)


def _may_come_from_store(failed: Failed) -> bool:
    if failed.reported:
        return failed.error.kind != _Kind.USER or _STORAGE_CLIENT.search(failed.error.message) is not None
    return failed.error.code in _WITHOUT_DOCUMENT


def _recorded(running: RunningAttempt) -> str | None:
    try:
        return (running.run.directory / _RECORD).read_text()
    except FileNotFoundError:
        return None
