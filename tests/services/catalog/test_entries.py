"""Rows of the catalog: cached artifacts, and reservations of keys whose outputs are being computed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from flyteidl.core import identifier_pb2

from app.database import schema
from app.services import catalog
from app.services.catalog import CacheKey, ReservationOwner
from app.services.execution_ids import execution_key

KEY = CacheKey("p", "d", "flyte_task-t", "1-aaaaaaaa-bbbbbbbb", "flyte_cached-x")
OTHER = KEY._replace(tag="flyte_cached-y")


def owner(execution: str, node: str = "n0", part: str = "") -> ReservationOwner:
    id = identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name=execution)
    return ReservationOwner(identifier_pb2.NodeExecutionIdentifier(execution_id=id, node_id=node), part)


ONE, TWO = owner("e1"), owner("e2")


def entry(artifact_id: str, execution: str = "e1", **more: Any) -> dict[str, Any]:
    return {
        "artifact_id": artifact_id,
        "output_uri": f"/{execution}/outputs.pb",
        "digest": b"\x00",
        "task_version": "v1",
        "execution_project": "p",
        "execution_domain": "d",
        "execution_name": execution,
        "node_id": "n0",
        "retry_attempt": 0,
        **more,
    }


async def launched(db: Any, *owners: ReservationOwner) -> None:
    """The launch records of executions that an engine has to run."""
    for one in owners:
        await db.insert(schema.Launch, **execution_key(one.node.execution_id))


class TestPut:
    def test_the_first_one_counts(self, bench: Callable[..., Any]) -> None:
        async def scenario(desk: Any) -> None:
            async with desk.context() as ctx:
                assert await catalog.find_artifact(ctx.db, KEY) is None
                assert await catalog.store_artifact(ctx.db, KEY, entry("a", "e1"), overwrite=False) == ("a", False)
                assert await catalog.store_artifact(ctx.db, KEY, entry("b", "e2"), overwrite=False) == ("a", False)
            async with desk.context() as ctx:
                row: Any = await catalog.find_artifact(ctx.db, KEY)
                assert (row.artifact_id, row.output_uri, row.digest) == ("a", "/e1/outputs.pb", b"\x00")
                assert await catalog.find_artifact(ctx.db, OTHER) is None

        bench(scenario)

    def test_overwriting_keeps_the_id(self, bench: Callable[..., Any]) -> None:
        async def scenario(desk: Any) -> None:
            async with desk.context() as ctx:
                assert await catalog.store_artifact(ctx.db, KEY, entry("a", "e1"), overwrite=True) == ("a", False)
            async with desk.context() as ctx:
                before: Any = await catalog.find_artifact(ctx.db, KEY)
                assert await catalog.store_artifact(ctx.db, KEY, entry("b", "e2", digest=b"1"), overwrite=True) == (
                    "a",
                    True,
                )
            async with desk.context() as ctx:
                row: Any = await catalog.find_artifact(ctx.db, KEY)
                assert (row.artifact_id, row.execution_name, row.digest) == ("a", "e2", b"1")
                assert row.created_at == before.created_at
                assert row.updated_at > before.updated_at

        bench(scenario)

    def test_only_the_entry_that_was_read_is_forgotten(self, bench: Callable[..., Any]) -> None:
        async def scenario(desk: Any) -> None:
            async with desk.context() as ctx:
                await catalog.store_artifact(ctx.db, KEY, entry("a", "e1"), overwrite=False)
                await catalog.store_artifact(ctx.db, KEY, entry("b", "e2"), overwrite=True)
                await catalog.delete_artifact(ctx.db, KEY.dataset, "a", "/e1/outputs.pb")
                assert await catalog.find_artifact(ctx.db, KEY) is not None
                await catalog.delete_artifact(ctx.db, KEY.dataset, "a", "/e2/outputs.pb")
                assert await catalog.find_artifact(ctx.db, KEY) is None

        bench(scenario)


class TestReservations:
    def test_they_hold_as_long_as_their_node_runs(self, bench: Callable[..., Any]) -> None:
        async def scenario(desk: Any) -> None:
            async with desk.context() as ctx:
                await launched(ctx.db, ONE, TWO)
                assert await catalog.reserve(ctx, KEY, ONE)
            async with desk.context() as ctx:
                assert await catalog.reserve(ctx, KEY, ONE), "the holder may ask again"
                assert not await catalog.is_reserved(ctx, KEY, ONE)
                assert not await catalog.reserve(ctx, KEY, TWO)
                assert await catalog.is_reserved(ctx, KEY, TWO)
                assert await catalog.reserve(ctx, OTHER, TWO)
            async with desk.context() as ctx:
                await ctx.db.delete(schema.Launch, **execution_key(ONE.node.execution_id))
            async with desk.context() as ctx:
                assert not await catalog.is_reserved(ctx, KEY, TWO)
                assert await catalog.reserve(ctx, KEY, TWO)
                assert await catalog.is_reserved(ctx, KEY, ONE)

        bench(scenario)

    def test_a_node_that_has_ended_holds_nothing(self, bench: Callable[..., Any]) -> None:
        async def scenario(desk: Any) -> None:
            async with desk.context() as ctx:
                await launched(ctx.db, ONE, TWO)
                assert await catalog.reserve(ctx, KEY, ONE)
                row = {**execution_key(ONE.node.execution_id), "node_id": "n0", "input_uri": "", "duration": 0}
                await ctx.db.insert(schema.NodeExecution, **row, phase="RUNNING")
                assert not await catalog.reserve(ctx, KEY, TWO)
                await ctx.db.update(schema.NodeExecution, {"execution_name": "e1"}, phase="FAILED")
                assert await catalog.reserve(ctx, KEY, TWO)

        bench(scenario)

    def test_only_the_holder_gives_them_back(self, bench: Callable[..., Any]) -> None:
        async def scenario(desk: Any) -> None:
            part = owner("e1", part="7")
            async with desk.context() as ctx:
                await launched(ctx.db, ONE, TWO)
                assert await catalog.reserve(ctx, KEY, part)
                for other in (ONE, TWO, owner("e1", part="8"), owner("e1", "n1", "7")):
                    await catalog.release(ctx.db, KEY, other)
                    assert not await catalog.reserve(ctx, KEY, other)
                await catalog.release(ctx.db, KEY, part)
                assert await catalog.reserve(ctx, KEY, TWO)

        bench(scenario)

    def test_of_many_at_once_one_gets_it(self, bench: Callable[..., Any]) -> None:
        async def scenario(desk: Any) -> None:
            owners = [owner(f"e{number}") for number in range(20)]
            dead = owner("dead")

            async def reserve(one: ReservationOwner) -> bool:
                async with desk.context() as ctx:
                    return await catalog.reserve(ctx, KEY, one)

            async with desk.context() as ctx:
                await launched(ctx.db, *owners)
            assert sum(await asyncio.gather(*map(reserve, owners))) == 1
            async with desk.context() as ctx:
                await ctx.db.update(schema.CatalogReservation, {"tag": KEY.tag}, **dead.columns)
            assert sum(await asyncio.gather(*map(reserve, owners))) == 1, "one that was left behind"

        bench(scenario)
