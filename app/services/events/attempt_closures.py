"""Merge a task event into the closure of its attempt: logs, reasons, custom info, external resources.

These functions change messages only; task_events.py reads and writes the row.
Proto: admin.TaskExecutionClosure, event.TaskExecutionEvent. Source: transformers/task_execution.go.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from flyteidl.admin import task_execution_pb2
from flyteidl.core import execution_pb2
from flyteidl.event import event_pb2
from google.protobuf import struct_pb2

from app.services.phases import TASK_TERMINAL

_PENDING = (execution_pb2.TaskExecution.QUEUED, execution_pb2.TaskExecution.INITIALIZING)


def merge_logs(
    existing: Sequence[execution_pb2.TaskLog], latest: Sequence[execution_pb2.TaskLog]
) -> list[execution_pb2.TaskLog]:
    """Return the latest logs, then the existing logs that have another URI and another name."""
    if not latest:
        return list(existing)
    uris = {log.uri for log in latest}
    names = {log.name for log in latest if log.name}
    return [*latest, *(log for log in existing if log.uri not in uris and log.name not in names)]


def visible_logs(logs: Iterable[execution_pb2.TaskLog], phase: int) -> list[execution_pb2.TaskLog]:
    """Return the log links that upstream keeps in this phase.

    A link dropped here is not stored, so it does not come back in a later phase.
    """
    if phase in TASK_TERMINAL:
        return [log for log in logs if not log.HideOnceFinished]
    if phase in _PENDING:
        return [log for log in logs if log.ShowWhilePending]
    return list(logs)


def merge_custom(existing: struct_pb2.Struct, latest: struct_pb2.Struct) -> None:
    """Apply `latest` to `existing` as a JSON merge patch (RFC 7396): a null deletes its key."""
    for key, value in latest.fields.items():
        kind = value.WhichOneof("kind")
        if kind == "null_value":
            existing.fields.pop(key, None)
        elif kind == "struct_value":
            if existing.fields[key].WhichOneof("kind") != "struct_value":
                existing.fields[key].Clear()
            existing.fields[key].struct_value.SetInParent()
            merge_custom(existing.fields[key].struct_value, value.struct_value)
        else:
            existing.fields[key].CopyFrom(value)


def merge_external_resources(existing: Any, latest: Sequence[event_pb2.ExternalResourceInfo]) -> None:
    """Merge the resources of an event into `existing`: one per index and retry attempt, sorted by these.

    A map task has thousands of resources and an event changes a few, so the others are not copied.
    Deviates: upstream searches a list that may be unsorted, and so misplaces or repeats resources.
    """
    entries = {(one.index, one.retry_attempt): one for one in existing}
    if len(entries) < len(existing):
        # Upstream stored a resource twice in this row. The last one is kept.
        _replace(existing, list(entries.values()))
        entries = {(one.index, one.retry_attempt): one for one in existing}
    before = len(entries)
    for one in latest:
        entry = entries.get((one.index, one.retry_attempt))
        if entry is None:
            entry = entries[one.index, one.retry_attempt] = existing.add()
            entry.CopyFrom(one)
        else:
            _merge_external_resource(entry, one)
    if len(entries) > before:
        existing.sort(key=lambda one: (one.index, one.retry_attempt))


def _merge_external_resource(existing: event_pb2.ExternalResourceInfo, latest: event_pb2.ExternalResourceInfo) -> None:
    if latest.external_id:
        existing.external_id = latest.external_id
    existing.phase = latest.phase
    if latest.cache_status:
        existing.cache_status = latest.cache_status
    if latest.logs:
        _replace(existing.logs, merge_logs(existing.logs, latest.logs))
    if latest.HasField("custom_info"):
        existing.custom_info.CopyFrom(latest.custom_info)


def merge_metadata(closure: task_execution_pb2.TaskExecutionClosure, latest: event_pb2.TaskExecutionMetadata) -> None:
    """Merge the metadata of an event; resource_pool_info is always replaced, also by an empty list."""
    existing = closure.metadata
    if latest.generated_name:
        existing.generated_name = latest.generated_name
    if latest.plugin_identifier:
        existing.plugin_identifier = latest.plugin_identifier
    if latest.instance_class != event_pb2.TaskExecutionMetadata.DEFAULT:
        existing.instance_class = latest.instance_class
    _replace(existing.resource_pool_info, list(latest.resource_pool_info))
    merge_external_resources(existing.external_resources, latest.external_resources)


def _replace(field: object, values: Sequence[object]) -> None:
    """Replace the elements of a repeated message field by values, which may be elements of the field itself."""
    copies = []
    for value in values:
        copy = type(value)()
        copy.CopyFrom(value)  # type: ignore[attr-defined]
        copies.append(copy)
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]


def add_reasons(closure: task_execution_pb2.TaskExecutionClosure, event: event_pb2.TaskExecutionEvent) -> None:
    """Append the reasons of an event; a single reason equal to the last one is not appended again."""
    if event.reasons:
        for one in event.reasons:
            added = closure.reasons.add(message=one.reason)
            if one.HasField("occurred_at"):
                added.occurred_at.CopyFrom(one.occurred_at)
        closure.reason = event.reasons[-1].reason
    elif event.reason:
        if event.reason != closure.reason:
            closure.reasons.add(occurred_at=event.occurred_at, message=event.reason)
        closure.reason = event.reason


def first_closure(event: event_pb2.TaskExecutionEvent) -> task_execution_pb2.TaskExecutionClosure:
    """Return the closure of an attempt after its first event, without phase, times and outcome."""
    closure = task_execution_pb2.TaskExecutionClosure(
        task_type=event.task_type, event_version=event.event_version, logs=event.logs
    )
    if event.HasField("custom_info"):
        closure.custom_info.CopyFrom(event.custom_info)
    if event.HasField("metadata"):
        closure.metadata.CopyFrom(event.metadata)
        del closure.metadata.external_resources[:]
        merge_external_resources(closure.metadata.external_resources, event.metadata.external_resources)
    add_reasons(closure, event)
    return closure


def merge_event(closure: task_execution_pb2.TaskExecutionClosure, event: event_pb2.TaskExecutionEvent) -> None:
    """Merge a later event into the closure, except for phase, times and outcome, which the caller sets."""
    add_reasons(closure, event)
    phase_changed = closure.phase != event.phase
    _replace(closure.logs, visible_logs(merge_logs(closure.logs, event.logs), event.phase))
    if event.HasField("custom_info"):
        merge_custom(closure.custom_info, event.custom_info)
    if event.HasField("metadata"):
        merge_metadata(closure, event.metadata)
    if phase_changed and closure.HasField("metadata"):
        for resource in closure.metadata.external_resources:
            _replace(resource.logs, visible_logs(resource.logs, event.phase))
    closure.event_version = max(closure.event_version, event.event_version)
