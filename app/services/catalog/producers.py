"""The attempt that produced an artifact: as columns of its row, and as metadata of DataCatalog.

The keys of the metadata are those of FlytePropeller.
Source: flytepropeller/pkg/controller/nodes/catalog/datacatalog/transformer.go.
"""

from __future__ import annotations

from typing import Any

from flyteidl.datacatalog import datacatalog_pb2

from app.services.catalog.keys import DatasetKey

_UNKNOWN = "unknown"
# Column → key of the metadata.
_KEYS = {
    "execution_project": "exec-project",
    "execution_domain": "exec-domain",
    "execution_name": "execution-name",
    "node_id": "exec-node",
    "retry_attempt": "exec-attempt",
}
_ATTEMPT_MAX = 2**31 - 1


def columns_of(metadata: datacatalog_pb2.Metadata, key: DatasetKey, task_version: str) -> dict[str, Any]:
    """Return the columns of an artifact that name its producer.

    Args:
        metadata: The metadata of the artifact.
        key: The dataset, whose project and domain stand for missing ones.
        task_version: The version of the task, "" for an unknown one.
    """
    given, missing = metadata.key_map, dict.fromkeys(_KEYS, _UNKNOWN)
    missing |= {"execution_project": key.dataset_project, "execution_domain": key.dataset_domain}
    columns: dict[str, Any] = {name: given.get(label) or missing[name] for name, label in _KEYS.items()}
    # PostgreSQL stores no NUL in text. The metadata itself is stored as bytes.
    columns = {name: value.replace("\0", "") for name, value in columns.items()}
    attempt = columns["retry_attempt"]
    digits = attempt.isascii() and attempt.isdigit() and len(attempt) <= len(str(_ATTEMPT_MAX))
    columns["retry_attempt"] = min(int(attempt), _ATTEMPT_MAX) if digits else 0
    return {**columns, "task_version": task_version or _UNKNOWN}


def metadata_of(row: Any) -> datacatalog_pb2.Metadata:
    """Return the metadata of an artifact: that of the client, or the producer in the local engine."""
    if row.details is not None:
        return datacatalog_pb2.Metadata.FromString(row.details)
    return datacatalog_pb2.Metadata(key_map={label: str(getattr(row, name)) for name, label in _KEYS.items()})
