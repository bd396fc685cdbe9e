"""Decide what an answer of Kubernetes means for a launch: done, again later, or never."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from flyteidl.core import identifier_pb2

from app.engine.kubernetes.api import ApiError
from app.wire.go.go_struct import to_go_struct

_PAUSE_SECONDS, _PAUSE_SECONDS_MAX, _BACKOFF = 0.5, 30.0, 2.0
# Longer pauses that a server asks for are cut.
_RETRY_AFTER_SECONDS_MAX = 300.0
_TEMPORARY = frozenset({0, 401, 408, 429, 500, 502, 503, 504})
# etcd refuses an object of 1.5 MB to 3 MB with status 500, now and later.
_TOO_LARGE = "request is too large"
NAMESPACE_TERMINATING = "NamespaceTerminating"
TERMINATED_LABEL, TERMINATED = "termination-status", "terminated"


def is_temporary(error: ApiError, *, namespaces_follow: bool) -> bool:
    """Return whether a later call may succeed where this one failed.

    Args:
        error: The failure of a creation or deletion.
        namespaces_follow: Whether this product makes the namespaces of projects, maybe after the first launch.
    """
    text = str(error)
    if error.status == 403:
        return "exceeded quota" in text or NAMESPACE_TERMINATING in error.causes or "is being terminated" in text
    if error.status == 404:
        return namespaces_follow and text.startswith("namespaces ")
    if error.status == 409:
        return error.reason != "AlreadyExists" or "is being deleted" in text
    return error.status in _TEMPORARY and _TOO_LARGE not in text


def pause_seconds(tries: int, error: ApiError) -> float:
    """Return the time until the next call: what Kubernetes asks for, else a growing time with a random part."""
    if error.retry_after:
        return min(error.retry_after, _RETRY_AFTER_SECONDS_MAX)
    longest = min(_PAUSE_SECONDS * _BACKOFF ** min(tries, 16), _PAUSE_SECONDS_MAX)
    return longest * (0.5 + random.random() / 2)  # nosec B311 - spreads calls, guards nothing


def belongs_to(document: Mapping[str, Any], id: identifier_pb2.WorkflowExecutionIdentifier) -> bool:
    """Return whether an object can belong to an execution: neither its content nor its labels name another one."""
    named = document.get("executionId")
    labels = document.get("metadata", {}).get("labels") or {}
    expected = {"project": id.project, "domain": id.domain, "execution-id": id.name}
    return named in (None, to_go_struct(id)) and all(labels.get(key, value) == value for key, value in expected.items())


def is_over(document: Mapping[str, Any]) -> bool:
    """Return whether FlytePropeller will not work on an object: it is being deleted, or has ended."""
    metadata = document.get("metadata", {})
    ended = (metadata.get("labels") or {}).get(TERMINATED_LABEL) == TERMINATED
    return ended or bool(metadata.get("deletionTimestamp"))
