"""Checks that several RPCs share: identifiers, projects and domains, labels, notifications.

A check raises INVALID_ARGUMENT with upstream's message, or returns nothing. The checks of a launch are in
executions/launch_checks.py, the rules for phases in phases.py.
Source: flyteadmin/pkg/manager/impl/validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flyteidl.admin import common_pb2, project_pb2
from flyteidl.core import execution_pb2, identifier_pb2
from google.protobuf.message import Message

from app import errors
from app.database import schema
from app.runtime.context import Context
from app.wire.text import text

LABELS_MAX = 16

_TERMINAL_PHASES = (
    execution_pb2.WorkflowExecution.SUCCEEDED,
    execution_pb2.WorkflowExecution.FAILED,
    execution_pb2.WorkflowExecution.ABORTED,
    execution_pb2.WorkflowExecution.TIMED_OUT,
)

_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = rf"({_NAME})?"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"


def field_or_none(message: Message, field: str) -> Any:
    """Return the message in a field, None if the field is absent (nil in Go)."""
    return getattr(message, field) if message.HasField(field) else None


# Identifiers.


def resource_name(resource_type: int) -> str:
    """Return the name of a core.ResourceType, or its number if it has no name."""
    value = identifier_pb2.ResourceType.DESCRIPTOR.values_by_number.get(resource_type)
    return str(resource_type) if value is None else str(value.name)


def check_parts(id: Message | None, *parts: str) -> None:
    """Raise INVALID_ARGUMENT if an identifier is absent or one of these parts is empty."""
    if id is None:
        raise errors.missing("id")
    for part in parts:
        if not getattr(id, part):
            raise errors.missing(part)


def check_identifier(id: identifier_pb2.Identifier | None, expected: int) -> None:
    """Raise INVALID_ARGUMENT if a version's identifier has another resource type or an empty part.

    Source: upstream ValidateIdentifier.
    """
    if id is not None and id.resource_type != expected:
        raise errors.InvalidArgument(
            f"unexpected resource type {resource_name(id.resource_type).lower()} for identifier [{text(id)}], "
            f"expected {resource_name(expected).lower()} instead"
        )
    check_parts(id, "project", "domain", "name", "version")


def version_key(id: identifier_pb2.Identifier) -> dict[str, Any]:
    """Return the key of a version's row, in the table of its resource type."""
    return {"project": id.project, "domain": id.domain, "name": id.name, "version": id.version}


def missing_entity(kind: str, id: Message) -> errors.NotFound:
    """Return the error for a row that does not exist (upstream errors.GetMissingEntityError)."""
    return errors.NotFound(f"missing entity of type {kind} with identifier {text(id)}")


def not_registered(kind: str, id: identifier_pb2.Identifier) -> errors.NotFound:
    """Return the error for a version that is not registered.

    Parity: the message has the identifier without its resource type (GetMissingEntityError).
    """
    shown = identifier_pb2.Identifier(project=id.project, domain=id.domain, name=id.name, version=id.version)
    return missing_entity(kind, shown)


# Projects and domains.


async def _project_state(ctx: Context, project: str, failure: str) -> int:
    """Return the state of a project.

    Deviates: an empty project is refused. Upstream uses the first project that it finds (GetProject).
    """
    if not project:
        raise errors.missing("project")
    row = await ctx.db.find(schema.Project, columns=("state",), identifier=project)
    if row is None:
        raise errors.InvalidArgument(f"{failure}, err: [project [{project}] not found]")
    return int(row.state or 0)


async def check_project_and_domain(ctx: Context, project: str, domain: str) -> None:
    """Check that a project is registered and active, and that a domain is configured.

    Raises:
        errors.InvalidArgument: With the detail admin.InactiveProject if the project is not active.

    Source: upstream ValidateProjectAndDomain.
    """
    failure = f"failed to validate that project [{project}] and domain [{domain}] are registered"
    if await _project_state(ctx, project, failure) != project_pb2.Project.ACTIVE:
        raise errors.InvalidArgument(
            f"project [{project}] is not active", details=(project_pb2.InactiveProject(id=project),)
        )
    if all(known.id != domain for known in ctx.settings.domains):
        raise errors.InvalidArgument(f"domain [{domain}] is unrecognized by system")


async def check_project_for_update(ctx: Context, project: str) -> None:
    """Raise INVALID_ARGUMENT if a project is not registered or not active (upstream ValidateProjectForUpdate).

    Parity: the error has no detail.
    """
    failure = f"failed to validate that project [{project}] is registered"
    if await _project_state(ctx, project, failure) != project_pb2.Project.ACTIVE:
        raise errors.InvalidArgument(f"project [{project}] is not active")


async def check_project_exists(ctx: Context, project: str) -> None:
    """Raise INVALID_ARGUMENT if a project is not registered (upstream ValidateProjectExists)."""
    await _project_state(ctx, project, f"failed to validate that project [{project}] exists")


# Texts.


def check_length(value: str, field: str, bytes_max: int) -> None:
    """Raise INVALID_ARGUMENT if a text has more than bytes_max bytes.

    Parity: the message has "characters" for bytes (ValidateMaxLengthStringField).
    """
    if len(value.encode()) > bytes_max:
        raise errors.InvalidArgument(f"{field} cannot exceed {bytes_max} characters")


def dns_label_problems(value: str) -> list[str]:
    """Return why a text is not an RFC 1123 label, in Kubernetes' words (validation.IsDNS1123Label)."""
    problems = [_too_long(63)] if len(value.encode()) > 63 else []
    if not re.fullmatch(_LABEL, value):
        if re.fullmatch(_SUBDOMAIN, value):
            return [*problems, "must not contain dots"]
        allowed = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-',"
        problems.append(_pattern(allowed, _LABEL, "my-name", "123-abc"))
    return problems


def project_labels(stored: bytes | None) -> Mapping[str, str]:
    """Return the labels in a project's column `labels`, which contains an admin.Project or nothing."""
    labels: Mapping[str, str] = project_pb2.Project.FromString(stored or b"").labels.values
    return labels


def check_labels(values: Mapping[str, str]) -> None:
    """Raise INVALID_ARGUMENT for more than LABELS_MAX labels or a label that Kubernetes refuses (validateLabels)."""
    if len(values) > LABELS_MAX:
        raise errors.InvalidArgument(f"labels map cannot exceed {LABELS_MAX} entries")
    for key, value in sorted(values.items()):
        if problems := _label_key_problems(key):
            raise errors.InvalidArgument(f"invalid label key [{key}]: [{' '.join(problems)}]")
        if problems := _label_value_problems(value):
            raise errors.InvalidArgument(f"invalid label value [{value}]: [{' '.join(problems)}]")


def _too_long(characters_max: int) -> str:
    return f"must be no more than {characters_max} characters"


def _pattern(allowed: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    allowed += " and must start and end with an alphanumeric character"
    return f"{allowed} (e.g. {shown}regex used for validation is '{pattern}')"


def _label_key_problems(key: str) -> list[str]:
    allowed = "must consist of alphanumeric characters, '-', '_' or '.',"
    examples = ("MyName", "my.name", "123-abc")
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        form = _pattern(f"a qualified name {allowed}", _NAME, *examples)
        return [f"{form} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    problems = []
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash:
        problems += [f"prefix part {problem}" for problem in _subdomain_problems(prefix)]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name.encode()) > 63:
        problems.append(f"name part {_too_long(63)}")
    if not re.fullmatch(_NAME, name):
        problems.append(_pattern(f"name part {allowed}", _NAME, *examples))
    return problems


def _subdomain_problems(value: str) -> list[str]:
    problems = [_too_long(253)] if len(value.encode()) > 253 else []
    if not re.fullmatch(_SUBDOMAIN, value):
        allowed = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.',"
        problems.append(_pattern(allowed, _SUBDOMAIN, "example.com"))
    return problems


def _label_value_problems(value: str) -> list[str]:
    problems = [_too_long(63)] if len(value.encode()) > 63 else []
    if not re.fullmatch(_VALUE, value):
        allowed = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.',"
        problems.append(_pattern(allowed, _VALUE, "MyValue", "my_value", "12345"))
    return problems


# Notifications.


def check_notifications(notifications: Iterable[common_pb2.Notification]) -> None:
    """Raise INVALID_ARGUMENT for a notification without recipients or for a phase that is not terminal.

    Source: upstream validateNotifications.
    """
    for notification in notifications:
        kind = notification.WhichOneof("type")
        if kind is None:
            raise errors.invalid("notification type")
        recipients = getattr(notification, kind).recipients_email
        if not recipients:
            raise errors.missing("recipients")
        if not all(recipients):
            raise errors.missing("recipient")
        if any(phase not in _TERMINAL_PHASES for phase in notification.phases):
            raise errors.invalid("phase")
