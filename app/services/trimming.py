"""Shorten the closures in lists, so that a page fits into the 4 MiB that gRPC clients accept per message.

Errors keep their end. Abort causes, reasons, custom info, log links and inline outputs can be
as large as a request, so lists cut or omit them. The Get RPCs return everything.
"""

from __future__ import annotations

from typing import Any

from flyteidl.admin import execution_pb2, node_execution_pb2, task_execution_pb2

from app import errors

# Parity: upstream's length for executions and nodes (transformers.TrimErrorMessage).
ERROR_BYTES_MAX = 100
# Upstream does not cut the errors of attempts, and flyteconsole shows errors from the list.
ATTEMPT_ERROR_BYTES_MAX = 10_000
REASON_BYTES_MAX = 1000
# The limit of one field of one row: all reasons, all log links, custom info, inline outputs.
FIELD_BYTES_MAX = 4096
# External resources, one for each index of a map task, which flyteconsole shows from the list. Some 4,500 fit.
RESOURCES_BYTES_MAX = 1024 * 1024


def trim_execution(closure: execution_pb2.ExecutionClosure) -> None:
    """Shorten the closure of an execution for a list."""
    _trim_error(closure)
    if closure.WhichOneof("output_result") == "abort_metadata":
        closure.abort_metadata.cause = errors.cut(closure.abort_metadata.cause, REASON_BYTES_MAX)
    if closure.outputs.values.ByteSize() > FIELD_BYTES_MAX:
        closure.outputs.values.Clear()
    _trim_output(closure)


def trim_node(closure: node_execution_pb2.NodeExecutionClosure) -> None:
    """Shorten the closure of a node for a list."""
    _trim_error(closure)
    _trim_output(closure)


def trim_task(closure: task_execution_pb2.TaskExecutionClosure) -> None:
    """Shorten the closure of an attempt for a list; the latest reasons are kept."""
    _trim_error(closure, ATTEMPT_ERROR_BYTES_MAX)
    _trim_output(closure)
    closure.reason = errors.cut(closure.reason, REASON_BYTES_MAX)
    for reason in closure.reasons:
        reason.message = errors.cut(reason.message, REASON_BYTES_MAX)
    del closure.reasons[: len(closure.reasons) - _fitting(reversed(closure.reasons), FIELD_BYTES_MAX)]
    del closure.logs[_fitting(closure.logs, FIELD_BYTES_MAX) :]
    if closure.custom_info.ByteSize() > FIELD_BYTES_MAX:
        closure.ClearField("custom_info")
    if closure.metadata.ByteSize() > RESOURCES_BYTES_MAX:
        resources = closure.metadata.external_resources
        del resources[_fitting(resources, RESOURCES_BYTES_MAX) :]


def _trim_error(closure: Any, bytes_max: int = ERROR_BYTES_MAX) -> None:
    if closure.WhichOneof("output_result") == "error":
        closure.error.message = last_lines(closure.error.message, bytes_max)
        closure.error.code = errors.cut(closure.error.code, ERROR_BYTES_MAX)


def last_lines(text: str, bytes_max: int) -> str:
    """Return the last lines that fit, without blank ones at the end; of a last line that is too long its beginning.

    Deviates: upstream keeps the first 100 bytes, which for a failed task are the head of a traceback. The cause stands
    in the last lines: "ValueError: …" after flytekit's traceback, the reason after a container's log.
    """
    raw = text.encode("utf-8", "replace")
    if len(raw) <= bytes_max:
        return raw.decode()
    raw = raw.rstrip()
    start = len(raw) - bytes_max
    if start <= 0:
        return raw.decode()
    before = raw.find(b"\n", start - 1)
    if before >= 0:
        return raw[before:].decode().strip()
    return errors.cut(raw[raw.rfind(b"\n") + 1 :].decode().lstrip(), bytes_max)


def _trim_output(closure: Any) -> None:
    if closure.WhichOneof("output_result") == "output_data" and closure.output_data.ByteSize() > FIELD_BYTES_MAX:
        closure.output_data.Clear()


def _fitting(messages: Any, bytes_max: int) -> int:
    """Return how many of the first messages have at most bytes_max bytes in total."""
    count = total = 0
    for message in messages:
        total += message.ByteSize()
        if total > bytes_max:
            break
        count += 1
    return count
