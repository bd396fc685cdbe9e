"""Named entities through their functions, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import common_pb2
from flyteidl.core import identifier_pb2

from app import errors
from app.database import schema
from app.services import named_entities, tasks
from tests.support.builders import a_name, a_task, pages, refusal, register

Bench = Callable[..., Any]
TASK, WORKFLOW, DATASET = identifier_pb2.TASK, identifier_pb2.WORKFLOW, identifier_pb2.DATASET
ACTIVE, ARCHIVED = common_pb2.NAMED_ENTITY_ACTIVE, common_pb2.NAMED_ENTITY_ARCHIVED


def update(name: str, kind: int = TASK, **metadata: Any) -> common_pb2.NamedEntityUpdateRequest:
    return common_pb2.NamedEntityUpdateRequest(
        resource_type=kind, id=a_name(name), metadata=common_pb2.NamedEntityMetadata(**metadata)
    )


def listing(**request: Any) -> common_pb2.NamedEntityListRequest:
    given = {"resource_type": TASK, "project": "p", "domain": "development", "limit": 100, **request}
    return common_pb2.NamedEntityListRequest(**given)


async def names(b: Any, **request: Any) -> list[str]:
    answer = await b.call(named_entities.list_named_entities, listing(**request))
    return [entity.id.name for entity in answer.entities]


async def fill(b: Any) -> None:
    """Tasks .flytegen.x, a, b (archived), c (described), d, inc; two versions of each."""
    await register(b)
    for name in (".flytegen.x", "a", "b", "c", "d"):
        for version in ("v1", "v2"):
            await b.call(tasks.create_task, a_task(name, version))
    await b.call(named_entities.update_named_entity, update("b", state=ARCHIVED))
    await b.call(named_entities.update_named_entity, update("c", description="the third"))


class TestGetAndUpdate:
    def test_without_metadata(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            request = common_pb2.NamedEntityGetRequest(resource_type=TASK, id=a_name("inc"))
            found = await b.call(named_entities.get_named_entity, request)
            assert found == common_pb2.NamedEntity(
                resource_type=TASK, id=a_name("inc"), metadata=common_pb2.NamedEntityMetadata()
            )
            assert found.HasField("metadata")

        bench(scenario)

    def test_description_stays_and_state_is_written(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            request = common_pb2.NamedEntityGetRequest(resource_type=TASK, id=a_name("inc"))
            for sent, expected in (
                ({"description": "d", "state": ARCHIVED}, ("d", ARCHIVED)),
                ({}, ("d", ACTIVE)),
                ({"state": common_pb2.SYSTEM_GENERATED}, ("d", common_pb2.SYSTEM_GENERATED)),
                ({"description": "é" * 300, "state": 77}, ("é" * 300, 77)),
            ):
                await b.call(named_entities.update_named_entity, update("inc", **sent))
                metadata = (await b.call(named_entities.get_named_entity, request)).metadata
                assert (metadata.description, metadata.state) == expected

        bench(scenario)

    def test_many_updates_at_once_make_one_row(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            updates = [update("inc", description=f"d{number}") for number in range(8)]
            await asyncio.gather(*(b.call(named_entities.update_named_entity, one) for one in updates))
            async with b.context() as ctx:
                assert await ctx.db.count(schema.NamedEntityMetadata) == 1

        bench(scenario)

    @pytest.mark.parametrize(
        ("request_", "kind", "message"),
        [
            (update("inc", 0), errors.InvalidArgument, "invalid value for resource_type"),
            (update(""), errors.InvalidArgument, "missing name"),
            (
                common_pb2.NamedEntityUpdateRequest(resource_type=TASK, id=a_name("inc")),
                errors.InvalidArgument,
                "missing metadata",
            ),
            (
                update("inc", DATASET, state=ARCHIVED),
                errors.InvalidArgument,
                "Resource [DATASET] cannot have its state updated",
            ),
            (
                update("inc", 99, state=ARCHIVED),
                errors.InvalidArgument,
                "Resource [99] cannot have its state updated",
            ),
            (
                update("inc", DATASET),
                errors.InvalidArgument,
                "Cannot get NamedEntityMetadata for resource type: DATASET",
            ),
            (update("none"), errors.NotFound, "entry not found"),
            (update("inc", WORKFLOW), errors.NotFound, "entry not found"),
            (
                update("inc", description="d" * 301),
                errors.InvalidArgument,
                "value too long for type character varying(300)",
            ),
        ],
    )
    def test_what_is_refused(self, bench: Bench, request_: Any, kind: Any, message: str) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            error = await refusal(b, named_entities.update_named_entity, request_, kind)
            assert error.message == message

        bench(scenario)


class TestListNamedEntities:
    def test_generated_names_are_hidden_unless_a_filter_asks(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await fill(b)
            assert await names(b) == ["a", "b", "c", "d", "inc"]
            assert await names(b, filters="ne(name,inc)") == [".flytegen.x", "a", "b", "c", "d"]
            assert await names(b, resource_type=WORKFLOW) == []
            assert await names(b, domain="staging") == []

        bench(scenario)

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ("eq(state,0)", [".flytegen.x", "a", "c", "d", "inc"]),
            ("ne(state,1)", [".flytegen.x", "a", "c", "d", "inc"]),
            ("eq(state,1)", ["b"]),
            ("value_in(state,1;2)", ["b"]),
            ("eq(named_entity_metadata.state,1)", ["b"]),
            ("contains(description,third)", ["c"]),
            ("ne(description,zzz)", ["b", "c"]),
            ("ne(named_entity_metadata.name,b)", ["c"]),
            ("gte(name,c)+lt(name,i)", ["c", "d"]),
            ("eq(project,p)+eq(entities.domain,development)+eq(name,a)", ["a"]),
            ("eq(project,q)", []),
            ("eq(resource_type,1)+contains(name,n)", [".flytegen.x", "inc"]),
            ("eq(resource_type,2)", []),
        ],
    )
    def test_filters(self, bench: Bench, filters: str, expected: list[str]) -> None:
        async def scenario(b: Any) -> None:
            await fill(b)
            assert await names(b, filters=filters) == expected

        bench(scenario)

    @pytest.mark.parametrize(("key", "up"), [("", True), ("name", True), ("name", False), ("project", False)])
    def test_pages_hold_every_match_once(self, bench: Bench, key: str, up: bool) -> None:
        # Names that match lie behind names that do not: the page is cut behind the filter, not before it.
        async def scenario(b: Any) -> None:
            await fill(b)
            request = listing(limit=2, filters="eq(state,0)+ne(name,a)")
            if key:
                request.sort_by.key, request.sort_by.direction = (
                    key,
                    common_pb2.Sort.Direction.Value("ASCENDING" if up else "DESCENDING"),
                )
            found = await pages(b, named_entities.list_named_entities, request, "entities")
            expected = [".flytegen.x", "c", "d", "inc"]
            flat = [entity.id.name for page in found for entity in page]
            assert flat == (expected if up or key == "project" else expected[::-1])
            assert [len(page) for page in found] == [2, 2, 0]

        bench(scenario)

    def test_offsets_are_tokens_too(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await fill(b)
            assert await names(b, limit=2, token="3") == ["d", "inc"]
            assert await names(b, limit=2**32 - 1, token="99") == []

        bench(scenario)

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (listing(project=""), "missing project"),
            (listing(domain=""), "missing domain"),
            (listing(resource_type=0), "invalid value for resource_type"),
            (listing(limit=0), "invalid value for limit"),
            (listing(filters="eq(version,v1)"), "'nen.version' is invalid filter"),
            (listing(filters="eq(id,1)"), "'nen.id' is invalid filter"),
            (listing(filters="eq(task.name,x)"), "'t' entity is not allowed in filters"),
            (listing(filters="contains(state,1)"), "operator does not exist: integer ~~ unknown"),
            (listing(filters="eq(state,x)"), 'invalid input syntax for type integer: "x"'),
            (listing(sort_by=common_pb2.Sort(key="colour")), "invalid sort key 'colour'"),
            (listing(sort_by=common_pb2.Sort(key="state")), "invalid sort key 'state'"),
            (listing(token="x"), "invalid pagination token x for ListNamedEntities"),
            (listing(resource_type=DATASET), "Cannot list entity names for resource type: DATASET"),
        ],
    )
    def test_what_is_refused(self, bench: Bench, request_: Any, message: str) -> None:
        async def scenario(b: Any) -> None:
            assert (await refusal(b, named_entities.list_named_entities, request_)).message == message

        bench(scenario)
