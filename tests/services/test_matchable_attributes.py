"""Matchable attributes through their functions, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import (
    common_pb2,
    matchable_resource_pb2,
    project_attributes_pb2,
    project_domain_attributes_pb2,
    project_pb2,
    workflow_attributes_pb2,
)

from app import errors
from app.database import schema
from app.database.read_memo import ReadMemo
from app.services import matchable_attributes as service
from app.services import projects
from tests.support.builders import a_project, refusal

Bench = Callable[..., Any]
Attributes = matchable_resource_pb2.MatchingAttributes
LABEL = matchable_resource_pb2.EXECUTION_CLUSTER_LABEL
PLUGIN = matchable_resource_pb2.PLUGIN_OVERRIDE
CONFIG = matchable_resource_pb2.WORKFLOW_EXECUTION_CONFIG

# The three levels: names of the parts that belong to each.
LEVELS = ((), ("domain",), ("domain", "workflow"))
_PARTS = {"project": "p", "domain": "development", "workflow": "wf"}
_MODULES = (project_attributes_pb2, project_domain_attributes_pb2, workflow_attributes_pb2)
_NAMES = ("Project", "ProjectDomain", "Workflow")


def label(value: str) -> Any:
    return Attributes(execution_cluster_label=matchable_resource_pb2.ExecutionClusterLabel(value=value))


def plugins(**ids: str) -> Any:
    made = Attributes()
    made.plugin_overrides.SetInParent()
    for task_type, id in ids.items():
        made.plugin_overrides.overrides.add(task_type=task_type, plugin_id=[id])
    return made


def _parts(level: int, parts: dict[str, str]) -> dict[str, str]:
    return {"project": "p", **{name: _PARTS[name] for name in LEVELS[level]}, **parts}


async def update(b: Any, level: int, attributes: Any, **parts: str) -> None:
    module, name = _MODULES[level], _NAMES[level]
    message = getattr(module, f"{name}Attributes")(matching_attributes=attributes, **_parts(level, parts))
    request = getattr(module, f"{name}AttributesUpdateRequest")(attributes=message)
    function = (
        service.update_project_attributes,
        service.update_project_domain_attributes,
        service.update_workflow_attributes,
    )[level]
    await b.call(function, request)


async def get(b: Any, level: int, kind: int, **parts: str) -> Any:
    name = f"{_NAMES[level]}AttributesGetRequest"
    request = getattr(_MODULES[level], name)(resource_type=kind, **_parts(level, parts))
    function = (
        service.get_project_attributes,
        service.get_project_domain_attributes,
        service.get_workflow_attributes,
    )[level]
    return (await b.call(function, request)).attributes


async def delete(b: Any, level: int, kind: int, **parts: str) -> None:
    name = f"{_NAMES[level]}AttributesDeleteRequest"
    request = getattr(_MODULES[level], name)(resource_type=kind, **_parts(level, parts))
    function = (
        service.delete_project_attributes,
        service.delete_project_domain_attributes,
        service.delete_workflow_attributes,
    )[level]
    await b.call(function, request)


async def listed(b: Any, kind: int) -> list[Any]:
    request = matchable_resource_pb2.ListMatchableAttributesRequest(resource_type=kind)
    answer = await b.call(service.list_matchable_attributes, request)
    return list(answer.configurations)


async def message_of(awaitable: Any) -> str:
    with pytest.raises((errors.InvalidArgument, errors.NotFound)) as caught:
        await awaitable
    return str(caught.value)


class TestPrecedence:
    def test_the_most_specific_row_holds_as_a_whole_and_is_named(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            for level, value in enumerate(("project", "domain", "workflow")):
                await update(b, level, label(value))
            found = await get(b, 2, LABEL)
            assert (found.matching_attributes, found.workflow) == (label("workflow"), "wf")
            found = await get(b, 2, LABEL, workflow="other")
            assert (found.matching_attributes, found.domain, found.workflow) == (label("domain"), "development", "")
            found = await get(b, 2, LABEL, domain="staging")
            assert (found.matching_attributes, found.project, found.domain) == (label("project"), "p", "")
            assert (await get(b, 1, LABEL)).matching_attributes == label("domain")
            assert (await get(b, 0, LABEL)).matching_attributes == label("project")

        bench(scenario)

    def test_resolve_gives_none_where_nothing_is_set(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            await update(b, 1, label("domain"))
            async with b.context() as ctx:
                assert await service.resolve(ctx, LABEL, "p", "development", "wf") == label("domain")
                assert await service.resolve(ctx, LABEL, "p", "staging", "wf") is None
                assert await service.resolve(ctx, PLUGIN, "p", "development", "wf") is None
                assert await service.resolve(ctx, LABEL, "other", "development") is None

        bench(scenario)

    def test_not_found_names_what_was_asked_for(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            for level, shown in (
                (0, "Domain: Workflow:"),
                (1, "Domain:development Workflow:"),
                (2, "Domain:development Workflow:wf"),
            ):
                assert await message_of(get(b, level, LABEL)) == (
                    f"Resource [{{Project:p {shown} LaunchPlan: ResourceType:EXECUTION_CLUSTER_LABEL}}] not found"
                )
            assert "ResourceType:99}] not found" in await message_of(get(b, 1, 99))

        bench(scenario)


class TestUpdate:
    @pytest.mark.parametrize("level", [0, 1, 2])
    @pytest.mark.parametrize(
        "member",
        [
            "task_resource_attributes",
            "cluster_resource_attributes",
            "execution_queue_attributes",
            "execution_cluster_label",
            "plugin_overrides",
            "cluster_assignment",
        ],
    )
    def test_every_kind_at_every_level(self, bench: Bench, level: int, member: str) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            attributes = Attributes()
            getattr(attributes, member).SetInParent()
            await update(b, level, attributes)
            assert (await get(b, level, service.KINDS[member])).matching_attributes == attributes
            assert len(await listed(b, service.KINDS[member])) == 1

        bench(scenario)

    def test_a_row_is_replaced_as_a_whole_also_at_once(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            await asyncio.gather(*(update(b, 1, label(f"l{number}")) for number in range(8)))
            await update(b, 1, label("last"))
            assert [row.attributes for row in await listed(b, LABEL)] == [label("last")]

        bench(scenario)

    @pytest.mark.parametrize("level", [0, 1, 2])
    def test_plugin_overrides_are_merged_by_task_type(self, bench: Bench, level: int) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            await update(b, level, plugins(b="1", a="1"))
            await update(b, level, plugins(b="2", c="2"))
            await update(b, level, plugins())
            assert (await get(b, level, PLUGIN)).matching_attributes == plugins(a="1", b="2", c="2")

        bench(scenario)

    def test_concurrent_plugin_overrides_are_all_kept(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            await asyncio.gather(*(update(b, 1, plugins(**{f"t{number}": "x"})) for number in range(8)))
            assert len((await get(b, 1, PLUGIN)).matching_attributes.plugin_overrides.overrides) == 8

        bench(scenario)

    def test_overrides_of_a_domain_leave_those_of_its_workflows(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            await update(b, 2, plugins(a="workflow"))
            await update(b, 1, plugins(b="domain"))
            assert (await get(b, 2, PLUGIN)).matching_attributes == plugins(a="workflow")
            assert (await get(b, 1, PLUGIN)).matching_attributes == plugins(b="domain")

        bench(scenario)

    @pytest.mark.parametrize("level", [0, 1, 2])
    def test_what_is_refused(self, bench: Bench, level: int) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            shown = ("p", "p-development", "p-development-wf")[level]
            unrecognized = f"Unrecognized matching attributes type for request {shown}"
            quality = Attributes()
            quality.quality_of_service.SetInParent()
            for attributes in (Attributes(), quality):
                assert await message_of(update(b, level, attributes)) == unrecognized
            assert await message_of(update(b, level, None)) == "missing matching_attributes"
            assert await message_of(update(b, level, label("x"), project="")) == "missing project"
            assert "project [none] not found" in await message_of(update(b, level, label("x"), project="none"))
            if level:
                message = await message_of(update(b, level, label("x"), domain=""))
                assert message == "domain [] is unrecognized by system"
            if level == 2:
                assert await message_of(update(b, level, label("x"), workflow="")) == "missing name"
            assert await listed(b, LABEL) == []

        bench(scenario)

    def test_no_attributes_at_all(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            for function, module, name in (
                (service.update_project_attributes, project_attributes_pb2, "Project"),
                (service.update_project_domain_attributes, project_domain_attributes_pb2, "ProjectDomain"),
                (service.update_workflow_attributes, workflow_attributes_pb2, "Workflow"),
            ):
                request = getattr(module, f"{name}AttributesUpdateRequest")()
                assert (await refusal(b, function, request)).message == "missing attributes"

        bench(scenario)


class TestDelete:
    @pytest.mark.parametrize("level", [0, 1, 2])
    def test_one_level_and_one_kind_only(self, bench: Bench, level: int) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            for each in (0, 1, 2):
                await update(b, each, label(str(each)))
                await update(b, each, plugins(a=str(each)))
            await delete(b, level, LABEL)
            left = {row.attributes.execution_cluster_label.value for row in await listed(b, LABEL)}
            assert left == {"0", "1", "2"} - {str(level)}
            assert len(await listed(b, PLUGIN)) == 3
            await delete(b, level, LABEL)

        bench(scenario)

    def test_an_empty_project_deletes_nothing(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            await update(b, 1, label("x"))
            for level in (0, 1, 2):
                assert await message_of(delete(b, level, LABEL, project="")) == "missing project"
            assert await message_of(delete(b, 2, LABEL, workflow="")) == "missing name"
            assert len(await listed(b, LABEL)) == 1

        bench(scenario)


class TestInactiveProjects:
    def test_only_what_is_set_for_the_project_can_be_read(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            await update(b, 0, label("x"))
            archived = project_pb2.Project(id="p", state=project_pb2.Project.ARCHIVED)
            await b.call(projects.update_project, archived)
            assert (await get(b, 0, LABEL)).matching_attributes == label("x")
            for call in (update(b, 0, label("y")), delete(b, 0, LABEL), get(b, 1, LABEL), get(b, 2, LABEL)):
                assert await message_of(call) == "project [p] is not active"

        bench(scenario)


class TestExecutionConfig:
    SECTION = {
        "max_parallelism": 7,
        "overwrite_cache": True,
        "interruptible": True,
        "assumable_iam_role": "role",
        "k8s_service_account": "account",
        "output_location_prefix": "s3://b",
        "labels": {"a": "b"},
        "annotations": {"c": "d"},
        "envs": {"E": "F"},
    }

    def test_a_project_without_a_row_gets_the_configuration(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            found = (await get(b, 0, CONFIG)).matching_attributes.workflow_execution_config
            assert (found.max_parallelism, found.overwrite_cache, found.interruptible.value) == (7, True, True)
            assert found.security_context.run_as.iam_role == "role"
            assert found.security_context.run_as.k8s_service_account == "account"
            assert found.raw_output_data_config.output_location_prefix == "s3://b"
            assert (dict(found.labels.values), dict(found.annotations.values)) == ({"a": "b"}, {"c": "d"})
            assert not found.HasField("envs")
            assert "not found" in await message_of(get(b, 1, CONFIG))

        bench(scenario, flyteadmin=self.SECTION)

    def test_what_the_row_has_wins(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            stored = Attributes()
            config = stored.workflow_execution_config
            config.max_parallelism = 3
            config.interruptible.value = False
            config.security_context.SetInParent()
            config.labels.CopyFrom(common_pb2.Labels(values={"x": "y"}))
            config.annotations.SetInParent()
            await update(b, 0, stored)
            found = (await get(b, 0, CONFIG)).matching_attributes.workflow_execution_config
            assert (found.max_parallelism, found.interruptible.value) == (3, False)
            assert not found.security_context.HasField("run_as")
            assert (dict(found.labels.values), dict(found.annotations.values)) == ({"x": "y"}, {"c": "d"})
            assert (await get(b, 1, CONFIG)).matching_attributes == stored

        bench(scenario, flyteadmin=self.SECTION)

    def test_without_configuration_only_max_parallelism(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            found = (await get(b, 0, CONFIG)).matching_attributes.workflow_execution_config
            assert found == matchable_resource_pb2.WorkflowExecutionConfig(max_parallelism=25)

        bench(scenario)


class TestListMatchableAttributes:
    def test_all_projects_the_most_specific_first(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            for project in ("p", "a"):
                await b.call(projects.register_project, a_project(project))
                for level in (0, 2, 1):
                    await update(b, level, label(f"{project}{level}"), project=project)
            values = [row.attributes.execution_cluster_label.value for row in await listed(b, LABEL)]
            assert values == ["a2", "p2", "a1", "p1", "a0", "p0"]
            assert await listed(b, PLUGIN) == []

        bench(scenario)

    def test_an_unknown_kind(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            request = matchable_resource_pb2.ListMatchableAttributesRequest(resource_type=99)
            error = await refusal(b, service.list_matchable_attributes, request)
            assert error.message == "invalid value for resource_type"

        bench(scenario)


# Project, domain, workflow and launch plan of each row.
ROWS = [
    ("p", "", "", ""),
    ("p", "development", "", ""),
    ("p", "development", "own", ""),
    ("p", "", "everywhere", ""),
    ("q", "development", "other", ""),
    ("p", "staging", "", "plan"),
]


def test_rows_read_ahead_are_those_of_single_reads(bench: Bench) -> None:
    async def scenario(b: Any) -> None:
        async with b.context() as ctx:
            for row in ROWS:
                levels = dict(zip(("project", "domain", "workflow", "launch_plan"), row, strict=True))
                priority = 1 + sum(map(bool, row))
                values = {"resource_type": "WORKFLOW_EXECUTION_CONFIG", "priority": priority, "attributes": b"x"}
                await ctx.db.insert(schema.Resource, **levels, **values)
        places = [
            (project, domain, workflow)
            for project in ("p", "q", "r")
            for domain in ("", "development", "staging")
            for workflow in ("", "own", "everywhere", "other", "none")
        ]
        async with b.context() as ctx:
            memo = ReadMemo()
            await service.read_ahead(ctx.db, memo, CONFIG, places)
            single = [await service.find_row(ctx, CONFIG, *place) for place in places]
            known = len(memo._rows)
            ctx.db.memo = memo
            assert [await service.find_row(ctx, CONFIG, *place) for place in places] == single
            # Those of workflows with rows of their own were read one by one.
            assert (known, len(memo._rows)) == (18, len(places))

    bench(scenario)
