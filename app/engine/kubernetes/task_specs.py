"""Tasks of a FlyteWorkflow object: templates with the platform's resources and the child queue of a launch.

Source: flyteadmin/pkg/manager/impl/execution_manager.go (setCompiledTaskDefaults, assignResourcesIfUnset),
flyteadmin/pkg/manager/impl/util/resources.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flyteidl.core import tasks_pb2

from app.engine.kubernetes.interfaces import strip_interface
from app.services.task_resources import Amounts, Platform
from app.wire.go.quantity import Quantity
from app.wire.render import to_set_fields

CHILD_QUEUE_KEY = "child_queue"
_ZERO = Quantity.parse("0")
# In the order in which upstream writes them. CPU and memory are always written.
_ALWAYS = ("CPU", "MEMORY")
_IF_USED = ("EPHEMERAL_STORAGE", "GPU")


def task_spec(template: tasks_pb2.TaskTemplate, platform: Platform, child_queue: str) -> dict[str, Any]:
    """Return the TaskTemplate of an object.

    Args:
        template: The registered template.
        platform: The platform's defaults and limits for the execution.
        child_queue: The queue of tasks that the task starts, "" for none.
    """
    task = tasks_pb2.TaskTemplate()
    task.CopyFrom(template)
    if task.HasField("container"):
        _set_resources(task.container.resources, platform)
        if child_queue:
            task.container.config.add(key=CHILD_QUEUE_KEY, value=child_queue)
    if task.HasField("interface"):
        strip_interface(task.interface)
    spec: dict[str, Any] = to_set_fields(task)
    return spec


def _set_resources(resources: tasks_pb2.Resources, platform: Platform) -> None:
    """Replace the requests and limits of a container by those that hold on the platform.

    A missing request is the task's limit, else the platform's default; a missing limit is the request. Both are at
    most the platform's limit, and a request is at most the limit.
    """
    wanted, limits = _amounts(resources.requests), _amounts(resources.limits)
    resources.ClearField("requests")
    resources.ClearField("limits")
    for name in (*_ALWAYS, *_IF_USED):
        known = wanted.get(name) or limits.get(name) or platform.defaults.get(name)
        if known is None and name in _IF_USED:
            continue
        request = known or _ZERO
        limit = limits.get(name) or request
        most = platform.limits.get(name)
        if most is not None:
            request, limit = (min(amount, most, key=_value) for amount in (request, limit))
        request = min(request, limit, key=_value)
        number = tasks_pb2.Resources.ResourceName.Value(name)
        resources.requests.add(name=number, value=request.text)
        resources.limits.add(name=number, value=limit.text)


def _value(amount: Quantity) -> Any:
    return amount.value


def _amounts(entries: Iterable[tasks_pb2.Resources.ResourceEntry]) -> Amounts:
    """Return the quantities by name. Parity: a quantity that is zero or cannot be parsed counts as absent."""
    amounts = {}
    for entry in entries:
        try:
            amount = Quantity.parse(entry.value)
        except ValueError:
            continue
        if amount.value:
            amounts[tasks_pb2.Resources.ResourceName.Name(entry.name)] = amount
    return amounts
