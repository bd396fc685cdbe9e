"""What of the attributes and the settings reaches the object of a launch, and by which names it is found."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from flyteidl.admin import matchable_resource_pb2
from flyteidl.core import identifier_pb2

from app.engine.kubernetes import launch_data
from tests.services.test_executions import prepare
from tests.services.test_matchable_attributes import plugins, update

Scenario = Callable[..., Any]
RESOURCE, PLUGIN = matchable_resource_pb2.TASK_RESOURCE, matchable_resource_pb2.PLUGIN_OVERRIDE
QUEUES = {
    "execution_queues": [
        {"dynamic": "fast-queue", "attributes": ["fast"]},
        {"dynamic": "slow-queue", "attributes": ["slow"]},
    ],
    "workflow_configs": [{"domain": "development", "tags": []}, {"domain": "", "tags": ["slow"]}],
}


def cpu(value: str) -> Any:
    spec = matchable_resource_pb2.TaskResourceSpec(cpu=value)
    return matchable_resource_pb2.MatchingAttributes(
        task_resource_attributes=matchable_resource_pb2.TaskResourceAttributes(defaults=spec)
    )


def queue(*tags: str) -> Any:
    return matchable_resource_pb2.MatchingAttributes(
        execution_queue_attributes=matchable_resource_pb2.ExecutionQueueAttributes(tags=tags)
    )


def row(domain: str = "development", name: str = "wf") -> Any:
    return SimpleNamespace(workflow_project="p", workflow_domain=domain, workflow_name=name)


async def found(b: Any, row: Any, *, domain: str = "development", plan: str = "wf", task: bool = False) -> Any:
    id = identifier_pb2.WorkflowExecutionIdentifier(project="p", domain=domain, name="e1")
    async with b.context() as ctx:
        return await launch_data._attributes(ctx, id, row, plan, single_task=task)


def test_resources_are_those_of_the_workflow_and_plugins_those_of_the_execution(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await update(b, 1, cpu("1"))
        await update(b, 1, cpu("2"), domain="production")
        await update(b, 2, plugins(python="w"))
        await update(b, 1, plugins(python="p"), domain="production")
        attributes = await found(b, row())
        assert attributes[RESOURCE].task_resource_attributes.defaults.cpu == "1"
        assert attributes[PLUGIN].plugin_overrides.overrides[0].plugin_id == ["w"]
        attributes = await found(b, row(), domain="production")
        assert attributes[RESOURCE].task_resource_attributes.defaults.cpu == "1"
        assert attributes[PLUGIN].plugin_overrides.overrides[0].plugin_id == ["p"]

    bench(scenario)


def test_a_single_task_has_the_name_of_its_execution_for_plugins(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await update(b, 2, plugins(python="w"))
        await update(b, 2, cpu("3"))
        attributes = await found(b, row(), plan="", task=True)
        assert attributes.keys() == {RESOURCE}
        await update(b, 2, plugins(python="e"), workflow="e1")
        attributes = await found(b, row(), plan="", task=True)
        assert attributes[PLUGIN].plugin_overrides.overrides[0].plugin_id == ["e"]
        assert attributes[RESOURCE].task_resource_attributes.defaults.cpu == "3"

    bench(scenario)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [((), "slow-queue"), (("unknown",), "slow-queue"), (("unknown", "fast"), "fast-queue"), (("slow",), "slow-queue")],
)
def test_queues_come_from_the_attribute_then_from_the_settings(
    bench: Scenario, tags: tuple[str, ...], expected: str
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        if tags:
            await update(b, 2, queue(*tags))
        async with b.context() as ctx:
            assert await launch_data._child_queue(ctx, row()) == expected

    bench(scenario, queues=QUEUES)
