"""Check the resource requests and limits of a task against the limits of the platform.

The platform's defaults and limits come from the most specific attribute TASK_RESOURCE. An attribute replaces all of the
configured ones.
Source: flyteadmin/pkg/manager/impl/util/resources.go, pkg/manager/impl/validation/task_validator.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import structlog
from flyteidl.admin import matchable_resource_pb2
from flyteidl.core import identifier_pb2, tasks_pb2
from google.protobuf import struct_pb2

from app import errors
from app.runtime.context import Context
from app.services import matchable_attributes
from app.settings import Settings
from app.wire.go.quantity import Quantity
from app.wire.text import text

log = structlog.get_logger(__name__)

# Parity: storage and unknown names are not checked (requestedResourcesToQuantity).
NAMES = ("CPU", "GPU", "MEMORY", "EPHEMERAL_STORAGE")
_SEE_CONFIGURATION = "Please contact Flyte Admins to change these limits or consult the configuration"

Amounts = Mapping[str, Quantity]


@dataclass(frozen=True, slots=True)
class Platform:
    """Quantities by the names in NAMES; a missing name has no default or no limit."""

    defaults: Amounts
    limits: Amounts


async def platform(ctx: Context, project: str, domain: str, workflow: str = "") -> Platform:
    """Return the defaults and limits of a project-domain, or of one workflow there (upstream GetTaskResources)."""
    kind = matchable_resource_pb2.TASK_RESOURCE
    return platform_of(ctx.settings, await matchable_attributes.resolve(ctx, kind, project, domain, workflow))


def platform_of(settings: Settings, found: matchable_resource_pb2.MatchingAttributes | None) -> Platform:
    """Return the defaults and limits of attributes that were read before, or of the settings."""
    if found is not None and found.HasField("task_resource_attributes"):
        attributes = found.task_resource_attributes
        return Platform(_amounts(attributes.defaults), _amounts(attributes.limits))
    configured = settings.task_resources
    return Platform(_amounts(configured.defaults), _amounts(configured.limits))


def _amounts(spec: Any) -> Amounts:
    """Return the quantities of a message. Parity: a quantity that is zero or cannot be parsed counts as absent."""
    amounts = {}
    for name in NAMES:
        written = getattr(spec, name.lower())
        try:
            amount = Quantity.parse(written) if written else None
        except ValueError as error:
            log.warning("quantity_ignored", resource=name, value=written, reason=str(error))
            continue
        if amount is not None and amount.value:
            amounts[name] = amount
    return amounts


def check_container(
    id: identifier_pb2.Identifier | None, resources: tasks_pb2.Resources, platform_limits: Amounts
) -> None:
    """Check the requests and limits of a container.

    Args:
        id: The id in the task's template, for messages.
        resources: The container's resources.
        platform_limits: The limits of the platform.

    Raises:
        errors.InvalidArgument: A quantity is invalid or too large, or a name occurs twice.

    Source: upstream validateTaskResources.
    """
    requests, limits = _entries(id, resources.requests), _entries(id, resources.limits)
    _check(id, requests, limits, platform_limits)


def _entries(
    id: identifier_pb2.Identifier | None, entries: Iterable[tasks_pb2.Resources.ResourceEntry]
) -> dict[str, Quantity]:
    amounts: dict[str, Quantity] = {}
    numbers = tasks_pb2.Resources.ResourceName.DESCRIPTOR.values_by_number
    for entry in entries:
        name = numbers[entry.name].name if entry.name in numbers else ""
        if name not in NAMES:
            continue
        if name in amounts:
            # Parity: the message has "limit" for requests too.
            raise errors.InvalidArgument(f"can't specify {name} limit for task [{text(id)}] multiple times")
        try:
            amounts[name] = Quantity.parse(entry.value)
        except ValueError as error:
            raise errors.InvalidArgument(
                f"Parsing of {name} request failed for value {entry.value} - reason  {error}. "
                "Please follow K8s conventions for resources "
                "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"
            ) from error
        # Parity: rounded up to thousandths first (isWholeNumber).
        if name == "GPU" and ceil(amounts[name].value * 1000) % 1000:
            raise errors.InvalidArgument(f"gpu for [{text(id)}] must be a whole number, got: {entry.value} instead")
    return amounts


def _check(id: identifier_pb2.Identifier | None, requests: Amounts, limits: Amounts, platform_limits: Amounts) -> None:
    """Check requests and limits. Parity: quantities are rounded up first, and limits without requests are ignored."""
    for name in NAMES:
        if name not in requests:
            continue
        request, limit, most = requests[name], limits.get(name), platform_limits.get(name)
        if name == "GPU" and limit is not None and limit.rounded != request.rounded:
            raise errors.InvalidArgument(
                f"For extended resource 'gpu' the default value must equal the limit value for task [{text(id)}]"
            )
        if name != "GPU" and limit is not None and limit.rounded < request.rounded:
            raise errors.InvalidArgument(
                f"Requested {name} default [{request}] is greater than the limit [{limit}]. "
                "Please fix your configuration"
            )
        if name != "GPU" and limit is not None and most is not None and limit.rounded > most.rounded:
            raise _above_platform(name, "limit", limit, most)
        if most is not None and request.rounded > most.rounded:
            raise _above_platform(name, "default", request, most)


def _above_platform(name: str, what: str, amount: Quantity, most: Quantity) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"Requested {name} {what} [{amount}] is greater than current limit set in the platform configuration "
        f"[{most}]. {_SEE_CONFIGURATION}"
    )


# Pods. Only the fields of Kubernetes' PodSpec that the checks need are read.


def check_pod(id: identifier_pb2.Identifier | None, spec: struct_pb2.Struct, platform_limits: Amounts) -> None:
    """Check the requests and limits of each container of a pod.

    Deviates: upstream answers INTERNAL for a pod spec that cannot be read.

    Raises:
        errors.InvalidArgument: The pod spec cannot be read, or a quantity is invalid or too large.

    Source: upstream validateK8sPod.
    """
    for container in _list(spec.fields.get("containers"), "PodSpec.containers", "[]v1.Container"):
        resources = _object(container.fields.get("resources"), "Container.containers.resources")
        requests, limits = (
            _quantities(_object(resources.fields.get(name), f"ResourceRequirements.containers.resources.{name}"))
            for name in ("requests", "limits")
        )
        _check(id, requests, limits, platform_limits)


def _json_kind(value: struct_pb2.Value) -> str:
    names = {"struct_value": "object", "list_value": "array", "string_value": "string", "bool_value": "bool"}
    return names.get(value.WhichOneof("kind") or "", "number")


def _is_null(value: struct_pb2.Value | None) -> bool:
    return value is None or value.WhichOneof("kind") in (None, "null_value")


def _unreadable(value: struct_pb2.Value, field: str, type_name: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"json: cannot unmarshal {_json_kind(value)} into Go struct field {field} of type {type_name}"
    )


def _list(value: struct_pb2.Value | None, field: str, type_name: str) -> list[struct_pb2.Struct]:
    if value is None or _is_null(value):
        return []
    if value.WhichOneof("kind") != "list_value":
        raise _unreadable(value, field, type_name)
    return [_object(element, field) for element in value.list_value.values]


def _object(value: struct_pb2.Value | None, field: str) -> struct_pb2.Struct:
    if value is None or _is_null(value):
        return struct_pb2.Struct()
    if value.WhichOneof("kind") != "struct_value":
        raise _unreadable(value, field, "object")
    return value.struct_value


def _quantities(resources: struct_pb2.Struct) -> dict[str, Quantity]:
    """Return the quantities of a pod's resources.

    Parity: a name that Flyte does not have, such as nvidia.com/gpu, is not checked (resourceListToQuantity).
    """
    amounts = {}
    for name, value in sorted(resources.fields.items()):
        if _is_null(value):
            continue
        kind = value.WhichOneof("kind")
        if kind not in ("string_value", "number_value"):
            raise _unreadable(value, f"ResourceRequirements.containers.resources.{name}", "resource.Quantity")
        written = value.string_value if kind == "string_value" else format(value.number_value, ".15g")
        try:
            amount = Quantity.parse(written)
        except ValueError as error:
            raise errors.InvalidArgument(str(error)) from error
        flyte_name = "EPHEMERAL_STORAGE" if name == "ephemeral-storage" else name.upper()
        if flyte_name in NAMES:
            amounts[flyte_name] = amount
    return amounts
