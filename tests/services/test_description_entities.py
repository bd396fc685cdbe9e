"""Descriptions of versions through their functions, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import common_pb2, description_entity_pb2
from flyteidl.core import identifier_pb2

from app import errors
from app.database import schema
from app.services import description_entities, tasks, workflows
from tests.support.builders import a_name, a_task, a_workflow, an_id, pages, refusal, register

Bench = Callable[..., Any]
TASK, WORKFLOW = identifier_pb2.TASK, identifier_pb2.WORKFLOW


def described(short: str = "short", text: str = "long") -> description_entity_pb2.DescriptionEntity:
    return description_entity_pb2.DescriptionEntity(
        short_description=short,
        long_description=description_entity_pb2.Description(value=text, icon_link="i"),
        source_code=description_entity_pb2.SourceCode(link="http://example.org"),
        tags=["dropped"],
    )


def get(kind: int, name: str = "same", version: str = "v1") -> common_pb2.ObjectGetRequest:
    return common_pb2.ObjectGetRequest(id=an_id(kind, name, version))


def listing(kind: int = TASK, **request: Any) -> description_entity_pb2.DescriptionEntityListRequest:
    given = {"resource_type": kind, "id": a_name("same"), "limit": 100, **request}
    return description_entity_pb2.DescriptionEntityListRequest(**given)


async def fill(b: Any) -> None:
    """Tasks same:v1…v3 and a workflow same:v1, each with its description; task plain:v1 without one."""
    await register(b)
    for number in (1, 2, 3):
        request = a_task("same", f"v{number}")
        request.spec.description.CopyFrom(described(f"task {number}"))
        await b.call(tasks.create_task, request)
    await b.call(tasks.create_task, a_task("plain"))
    flow = a_workflow("same")
    flow.spec.description.CopyFrom(described("workflow"))
    await b.call(workflows.create_workflow, flow)


class TestGetDescriptionEntity:
    def test_what_was_registered_except_tags(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await fill(b)
            expected = described("task 1")
            expected.ClearField("tags")
            expected.id.CopyFrom(an_id(TASK, "same"))
            assert await b.call(description_entities.get_description_entity, get(TASK)) == expected
            assert await b.call(description_entities.get_description_entity, get(0)) == expected
            # Deviates from upstream, which may answer with the task here.
            found = await b.call(description_entities.get_description_entity, get(WORKFLOW))
            assert found.short_description == "workflow"

        bench(scenario)

    def test_an_empty_description_is_one(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            request = a_task("same")
            request.spec.description.SetInParent()
            await b.call(tasks.create_task, request)
            found = await b.call(description_entities.get_description_entity, get(TASK))
            assert found.HasField("long_description")
            assert found.HasField("source_code")
            assert found.short_description == ""

        bench(scenario)

    def test_what_is_refused(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await fill(b)
            for request, kind, message in (
                (common_pb2.ObjectGetRequest(), errors.InvalidArgument, "invalid value for resource_type"),
                (get(TASK, ""), errors.InvalidArgument, "missing name"),
                (get(TASK, version=""), errors.InvalidArgument, "missing version"),
                (get(TASK, "plain"), errors.NotFound, "entry not found"),
                (get(WORKFLOW, version="v2"), errors.NotFound, "entry not found"),
                (get(99), errors.NotFound, "entry not found"),
            ):
                error = await refusal(b, description_entities.get_description_entity, request, kind)
                assert error.message == message

        bench(scenario)

    def test_what_a_half_failed_registration_left_is_replaced(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            key = {"project": "p", "domain": "development", "name": "same", "version": "v1"}
            async with b.context() as ctx:
                await ctx.db.insert(schema.DescriptionEntity, resource_type=TASK, **key, short_description="left")
            request = a_task("same")
            request.spec.description.CopyFrom(described("new"))
            await b.call(tasks.create_task, request)
            found = await b.call(description_entities.get_description_entity, get(TASK))
            assert (found.short_description, found.source_code.link) == ("new", "http://example.org")

        bench(scenario)


class TestListDescriptionEntities:
    def test_versions_of_one_name_and_type_in_pages(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await fill(b)
            sort = common_pb2.Sort(key="version", direction=common_pb2.Sort.ASCENDING)
            request = listing(limit=2, sort_by=sort)
            found = await pages(b, description_entities.list_description_entities, request, "descriptionEntities")
            assert [[one.short_description for one in page] for page in found] == [["task 1", "task 2"], ["task 3"]]
            answer = await b.call(description_entities.list_description_entities, listing(WORKFLOW))
            assert [one.short_description for one in answer.descriptionEntities] == ["workflow"]

        bench(scenario)

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ("eq(version,v2)", ["task 2"]),
            ("eq(task.version,v2)", ["task 2"]),
            ("contains(link,example)+ne(short_description,task 2)", ["task 1", "task 3"]),
        ],
    )
    def test_filters_read_the_columns_of_descriptions(self, bench: Bench, filters: str, expected: list[str]) -> None:
        async def scenario(b: Any) -> None:
            await fill(b)
            sort = common_pb2.Sort(key="id", direction=common_pb2.Sort.ASCENDING)
            request = listing(filters=filters, sort_by=sort)
            answer = await b.call(description_entities.list_description_entities, request)
            assert [one.short_description for one in answer.descriptionEntities] == expected

        bench(scenario)

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (description_entity_pb2.DescriptionEntityListRequest(limit=1), "missing id"),
            (listing(id=a_name("")), "missing name"),
            (listing(limit=0), "invalid value for limit"),
            (listing(filters="eq(type,x)"), "'t.type' is invalid filter"),
            (listing(WORKFLOW, filters="eq(typed_interface,x)"), "'w.typed_interface' is invalid filter"),
            (listing(99, filters="eq(colour,x)"), "'de.colour' is invalid filter"),
            (listing(sort_by=common_pb2.Sort(key="type")), "invalid sort key 'type'"),
            (listing(token="x"), "invalid pagination token x for ListWorkflows"),
        ],
    )
    def test_what_is_refused(self, bench: Bench, request_: Any, message: str) -> None:
        async def scenario(b: Any) -> None:
            error = await refusal(b, description_entities.list_description_entities, request_)
            assert error.message == message

        bench(scenario)
