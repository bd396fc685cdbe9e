"""Reservations of clients of DataCatalog: extension, expiry, and nodes of the local engine as the other owners."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flyteidl.datacatalog import datacatalog_pb2 as pb
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from app import errors
from app.services import catalog
from app.settings import Settings
from tests.conftest import Bench as Desk
from tests.services.catalog.requests import KEY, dataset_id
from tests.services.catalog.test_entries import launched, owner

pytestmark = pytest.mark.heavy

Bench = Callable[..., Any]
ID = pb.ReservationID(dataset_id=dataset_id(), tag_name=KEY.tag)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def ask(desk: Any, who: str, at: float = 0, heartbeat: float | None = None) -> pb.Reservation:
    request = pb.GetOrExtendReservationRequest(reservation_id=ID, owner_id=who)
    if heartbeat is not None:
        request.heartbeat_interval.FromTimedelta(timedelta(seconds=heartbeat))
    response = await desk.call(catalog.get_or_extend_reservation, request, now=NOON + timedelta(seconds=at))
    return response.reservation


async def give_back(desk: Any, who: str) -> None:
    await desk.call(catalog.release_reservation, pb.ReleaseReservationRequest(reservation_id=ID, owner_id=who))


def seconds_left(reservation: pb.Reservation, at: float = 0) -> float:
    return reservation.expires_at.ToDatetime(UTC).timestamp() - NOON.timestamp() - at


def test_a_reservation_lasts_three_heartbeats(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        first = await ask(desk, "one")
        assert (first.owner_id, seconds_left(first), first.heartbeat_interval.seconds) == ("one", 30, 10)
        assert first.reservation_id == ID
        assert (await ask(desk, "two", 29)).owner_id == "one"
        assert seconds_left(await ask(desk, "one", 29), 29) == 30
        held = await ask(desk, "two", 58)
        assert (held.owner_id, seconds_left(held, 58)) == ("one", 1)
        assert (await ask(desk, "two", 60)).owner_id == "two"
        assert (await ask(desk, "one", 61)).owner_id == "two"
        short = await ask(desk, "two", 62, heartbeat=1)
        assert (seconds_left(short, 62), short.heartbeat_interval.seconds) == (3, 1)
        assert seconds_left(await ask(desk, "two", 63, heartbeat=3600), 63) == 30

    bench(scenario)


def test_only_its_owner_releases_it(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        await give_back(desk, "nobody")
        await ask(desk, "one")
        await give_back(desk, "two")
        assert (await ask(desk, "two")).owner_id == "one"
        await give_back(desk, "one")
        assert (await ask(desk, "two")).owner_id == "two"

    bench(scenario)


def test_of_many_at_once_one_gets_it(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        owners = [f"o{number}" for number in range(12)]
        for at in (0, 31):
            answers = await asyncio.gather(*(ask(desk, one, at) for one in owners))
            assert len({one.owner_id for one in answers}) == 1

    bench(scenario)


def test_clients_and_nodes_wait_for_each_other(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        node = owner("e1", part="3")
        async with desk.context() as ctx:
            await launched(ctx.db, node)
            assert await catalog.reserve(ctx, KEY, node)
        held = await ask(desk, "client")
        assert (held.owner_id, seconds_left(held)) == ("p/d/e1/n0/3", 30)
        await give_back(desk, "p/d/e1/n0/3")
        await give_back(desk, "3")
        assert (await ask(desk, "client")).owner_id != "client"
        async with desk.context() as ctx:
            await catalog.release(ctx.db, KEY, node)
        now = (datetime.now(UTC) - NOON).total_seconds()
        assert (await ask(desk, "client", now)).owner_id == "client"
        async with desk.context() as ctx:
            assert await catalog.is_reserved(ctx, KEY, node)
            assert not await catalog.reserve(ctx, KEY, node)
        assert (await ask(desk, "client", now - 60)).owner_id == "client"
        async with desk.context() as ctx:
            assert not await catalog.is_reserved(ctx, KEY, node)
            assert await catalog.reserve(ctx, KEY, node)
            assert await catalog.reserve(ctx, KEY, node)
        assert (await ask(desk, "client", now + 1000)).owner_id != "client"

    bench(scenario)


def test_a_reservation_is_of_something_and_of_somebody(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        for request in (
            pb.GetOrExtendReservationRequest(owner_id="o"),
            pb.GetOrExtendReservationRequest(reservation_id=ID),
            pb.GetOrExtendReservationRequest(reservation_id=pb.ReservationID(tag_name="t"), owner_id="o"),
            pb.GetOrExtendReservationRequest(reservation_id=pb.ReservationID(dataset_id=dataset_id()), owner_id="o"),
        ):
            with pytest.raises(errors.InvalidArgument, match="missing"):
                await desk.call(catalog.get_or_extend_reservation, request)
        with pytest.raises(errors.InvalidArgument, match="negative"):
            await ask(desk, "o", heartbeat=-1)

    bench(scenario)


STEPS = st.lists(
    st.tuples(st.sampled_from(("ask", "release")), st.sampled_from("abc"), st.integers(0, 40)), min_size=1, max_size=20
)


@given(STEPS)
@limits(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_a_lock_that_expires(
    emptied_database: Callable[[str], str], tmp_path: Path, steps: list[tuple[str, str, int]]
) -> None:
    """Any sequence of calls is answered as a lock with one owner and one time would answer it."""

    async def scenario() -> None:
        desk = Desk(emptied_database("sqlite"), Settings(home=tmp_path))
        await desk.database.open()
        try:
            holder, until, at = "", 0, 0
            for kind, who, wait in steps:
                at += wait
                if kind == "release":
                    await give_back(desk, who)
                    holder = "" if holder == who else holder
                    continue
                if holder in ("", who) or until <= at:
                    holder, until = who, at + 30
                answer = await ask(desk, who, at)
                assert (answer.owner_id, seconds_left(answer, at)) == (holder, until - at)
        finally:
            await desk.database.close()

    asyncio.run(scenario())
