"""The outbox on both databases, with a target of the test: what is delivered, in which order, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flyteidl.core import identifier_pb2

from app import errors, limited_log
from app.background.outbox import claims, processes, service
from app.background.outbox.processes import Processes
from app.background.outbox.service import Outbox
from app.background.outbox.targets import Away, Backoff, Delivery, MessageRefused, TryAgain
from app.database import schema
from app.database.outbox_tables import OutboxMessage
from app.runtime.dispatch import Server
from app.services import outbox
from app.settings.outbox import Outbox as Section

pytestmark = pytest.mark.heavy

Scenario = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(service, "AWAY_SECONDS", 0.01)
    limited_log.clear()


class Recorder:
    """A target that records what it gets; `fail` decides about each delivery."""

    def __init__(self, *, ordered: bool = False, attempts: int | None = None) -> None:
        self.name = "mail"
        self.ordered = ordered
        self.backoff = Backoff(0.01, 0.05, attempts)
        self.problem = ""
        self.reply = "ok"
        self.got: list[bytes] = []
        self.ids: list[str] = []
        self.fail: Callable[[Delivery], None] = lambda _: None

    async def open(self) -> None: ...

    async def check(self) -> str:
        return self.problem

    async def deliver(self, delivery: Delivery) -> str:
        await asyncio.sleep(0)
        self.ids.append(delivery.delivery_id)
        self.fail(delivery)
        self.got.append(delivery.content)
        return self.reply

    async def close(self) -> None: ...


def execution(name: str) -> identifier_pb2.WorkflowExecutionIdentifier:
    return identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="development", name=name)


async def put(b: Any, *contents: str, name: str = "e", **options: Any) -> None:
    async with b.context() as ctx:
        for content in contents:
            await outbox.put(
                ctx, target="mail", kind="k", execution=execution(name), content=content.encode(), **options
            )


def outbox_of(b: Any, target: Any) -> Outbox:
    return Outbox(Server(b.settings, b.database, b.blobs, b.engine), [target])


@asynccontextmanager
async def running(b: Any, target: Any) -> AsyncIterator[Outbox]:
    found = outbox_of(b, target)
    await found.start()
    try:
        yield found
    finally:
        await found.stop()


async def rows(b: Any, **where: Any) -> list[Any]:
    async with b.context() as ctx:
        return sorted(await ctx.db.find_all(OutboxMessage, **where), key=lambda row: row.id)


async def until(holds: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - the outbox has no event that only tests would need
            await asyncio.sleep(0.003)


async def settled(b: Any) -> None:
    async with asyncio.timeout(60):
        while await rows(b, state="pending"):  # noqa: ASYNC110 - as `until`
            await asyncio.sleep(0.01)


class TestDelivery:
    def test_messages_are_delivered_once_and_kept_with_their_reply(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            target = Recorder()
            await put(b, "before")
            async with running(b, target) as found:
                await put(b, "after")
                found.wake()
                await settled(b)
            assert sorted(target.got) == [b"after", b"before"]
            kept = await rows(b)
            assert {(row.state, row.attempts, row.reply, row.owner) for row in kept} == {("delivered", 1, "ok", None)}
            assert all(row.finished_at is not None and row.next_at is None for row in kept)
            assert found.metrics()["mail_delivered"] == 2

        bench(scenario)

    def test_a_refused_message_fails_with_its_reason_and_the_others_are_delivered(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            target = Recorder(ordered=True)

            def fail(delivery: Delivery) -> None:
                if delivery.content == b"bad":
                    raise MessageRefused("550 no such user")

            target.fail = fail
            await put(b, "one", "bad", "two")
            async with running(b, target):
                await settled(b)
            assert target.got == [b"one", b"two"]
            [bad] = await rows(b, state="failed")
            assert (bad.content, bad.reason, bad.attempts) == (b"bad", "550 no such user", 1)

        bench(scenario)

    def test_a_message_is_tried_again_with_the_same_id_until_its_attempts_are_used(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            target = Recorder(attempts=3)

            def fail(delivery: Delivery) -> None:
                raise TryAgain("451 later")

            target.fail = fail
            await put(b, "one")
            async with running(b, target):
                await settled(b)
            [row] = await rows(b)
            assert (row.state, row.attempts, row.reason) == ("failed", 3, "451 later (attempt 3 of 3)")
            assert target.ids == [row.delivery_id] * 3

        bench(scenario)

    def test_an_unexpected_exception_is_no_loss(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            target, times = Recorder(), iter(range(3))

            def fail(delivery: Delivery) -> None:
                if next(times) < 2:
                    raise KeyError("secret")

            target.fail = fail
            await put(b, "one")
            async with running(b, target):
                await settled(b)
            [row] = await rows(b)
            assert (target.got, row.state, row.attempts) == ([b"one"], "delivered", 3)

        bench(scenario)

    def test_no_text_of_a_receiver_keeps_outcomes_from_being_recorded(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            target = Recorder()
            target.reply = "zero \0, escape \x1b[2J, surrogate \udcff"

            def fail(delivery: Delivery) -> None:
                if delivery.content == b"bad":
                    raise MessageRefused(target.reply)

            target.fail = fail
            await put(b, "one", "bad", recipient="\0\x1b[2J")
            async with running(b, target):
                await settled(b)
            text = "zero  , escape  [2J, surrogate  "
            assert [(row.state, row.attempts, row.reply or row.reason, row.recipient) for row in await rows(b)] == [
                ("delivered", 1, text, "  [2J"),
                ("failed", 1, text, "  [2J"),
            ]

        bench(scenario)

    def test_the_reply_asks_for_a_later_attempt(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            target = Recorder()

            def fail(delivery: Delivery) -> None:
                raise TryAgain("429", after_seconds=3600)

            target.fail = fail
            await put(b, "one")
            async with running(b, target):
                await until(lambda: target.ids)
            [row] = await rows(b)
            assert row.next_at > datetime.now(UTC) + timedelta(seconds=3500)
            assert (row.state, row.attempts, row.reason) == ("pending", 1, "429")

        bench(scenario)

    def test_a_target_that_is_away_costs_no_attempts_and_is_shown(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            target = Recorder()
            target.problem = "nobody listens"
            away = True

            def fail(delivery: Delivery) -> None:
                if away:
                    raise Away("connection refused")

            target.fail = fail
            await put(b, "one", "two")
            async with running(b, target) as found:
                await until(lambda: len(target.ids) > 3)
                assert found.problems() == {"mail": "connection refused"}
                assert (found.metrics()["mail_available"], found.health()) == (0.0, "")
                away = False
                await settled(b)
                assert found.problems() == {}
            assert {(row.state, row.attempts) for row in await rows(b)} == {("delivered", 1)}

        bench(scenario)


class TestOrder:
    @pytest.mark.slow
    def test_messages_of_an_execution_keep_their_order_through_failures_and_processes(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            target, refusals = Recorder(ordered=True), iter([True, False, False, True, False] * 100)

            def fail(delivery: Delivery) -> None:
                if next(refusals, False):
                    raise TryAgain("later")

            target.fail = fail
            for number in range(20):
                await put(b, *(f"{name}{number:02}" for name in "abc"), name="all")
                await put(b, f"x{number:02}", name="x")
            boxes = [outbox_of(b, target) for _ in range(3)]
            for number, box in enumerate(boxes):
                # Three processes.
                for part in (box._leases, box._cleaning._lease):
                    part.owner = f"elsewhere/{number}/1"
                box._me = box._outcomes._me = f"elsewhere/{number}/1"
                await box.start()
            await settled(b)
            for box in boxes:
                await box.stop()
            wanted = [f"{name}{number:02}".encode() for number in range(20) for name in "abc"]
            assert [one for one in target.got if not one.startswith(b"x")] == wanted
            assert [one for one in target.got if one.startswith(b"x")] == [b"x%02d" % n for n in range(20)]

        bench(scenario)

    def test_a_row_that_commits_late_is_not_skipped(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            target = Recorder(ordered=True)
            if b.url.startswith("sqlite"):
                return  # SQLite has one writer at a time.
            async with running(b, target), b.context() as late:
                await outbox.put(late, target="mail", kind="k", execution=execution("a"), content=b"late")
                await put(b, "early", name="b")
                await until(lambda: target.got == [b"early"])
                await asyncio.sleep(0.05)
                await late.db.close(commit=True)
                late.db.writing = False
                await until(lambda: target.got == [b"early", b"late"])

        bench(scenario)


@pytest.mark.parametrize("bench", ["postgresql"], indirect=True)
def test_ordered_messages_of_an_execution_have_ids_in_the_order_of_their_commits(bench: Scenario) -> None:
    """On SQLite there is one writer at a time."""

    async def scenario(b: Any) -> None:
        async def later(name: str, content: bytes) -> None:
            async with b.context() as ctx:
                how = {"target": "mail", "kind": "k", "content": content, "ordered": True}
                await outbox.put(ctx, execution=execution(name), **how)

        async with b.context() as first:
            await outbox.put(first, target="mail", kind="k", execution=execution("a"), content=b"first", ordered=True)
            waits = asyncio.create_task(later("a", b"second"))
            # Another execution waits for nobody.
            await later("b", b"other")
            await asyncio.sleep(0.2)
            assert not waits.done()
            await outbox.put(
                first, target="mail", kind="k", execution=execution("a"), content=b"first too", ordered=True
            )
        await waits
        async with b.context() as ctx:
            rows = await ctx.db.find_all(OutboxMessage, execution_name="a")
        assert [row.content for row in sorted(rows, key=lambda row: row.id)] == [b"first", b"first too", b"second"]

    bench(scenario)


class TestLeases:
    def test_messages_of_an_ended_process_are_delivered(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await put(b, "one")
            now = datetime.now(UTC)
            async with b.context() as ctx:
                dead = f"{service.owner_name().partition('/')[0]}/4194303/1"
                [row] = await claims.claim(ctx.db, "mail", ordered=False, me=dead, most=10, now=now)
            async with b.context() as ctx:
                assert not await claims.claim(ctx.db, "mail", ordered=False, me="other", most=10, now=now)
            target = Recorder()
            async with running(b, target):
                await settled(b)
            assert (target.got, target.ids) == ([b"one"], [row.delivery_id])

        bench(scenario)

    def test_an_outcome_after_the_loss_of_the_lease_is_not_recorded(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await put(b, "one")
            async with b.context() as ctx:
                [row] = await claims.claim(ctx.db, "mail", ordered=False, me="a", most=1, now=datetime.now(UTC))
                assert not await claims.record(ctx.db, row.id, "b", state="delivered", attempts=1)
                assert await claims.record(ctx.db, row.id, "a", state="delivered", attempts=1)

        bench(scenario)

    def test_a_message_whose_outcome_could_not_be_recorded_is_delivered_again(
        self, bench: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def scenario(b: Any) -> None:
            monkeypatch.setattr(service, "RENEW_SECONDS", 0.05)
            target = Recorder(ordered=True)
            await put(b, "one", "two")
            found = outbox_of(b, target)
            record, failures = found._outcomes.delivered, iter([True])

            async def delivered(delivery: Delivery, reply: str) -> None:
                if next(failures, False):
                    raise errors.Unavailable("the database is away")
                await record(delivery, reply)

            monkeypatch.setattr(found._outcomes, "delivered", delivered)
            await found.start()
            await settled(b)
            await found.stop()
            assert target.got == [b"one", b"one", b"two"]

        bench(scenario)

    def test_a_stop_delivers_what_is_due_and_releases_the_rest(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            target = Recorder()
            await put(b, *(str(number) for number in range(50)))
            async with running(b, target):
                pass
            assert len(target.got) == 50
            assert {row.owner for row in await rows(b)} == {None}

        bench(scenario)


class TestBounds:
    def test_old_and_surplus_messages_end_and_are_counted(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            target = Recorder()

            def fail(delivery: Delivery) -> None:
                raise Away("gone")

            target.fail = fail
            await put(b, *(f"old{number}" for number in range(3)), name="old")
            async with b.context() as ctx:
                await ctx.db.update(
                    OutboxMessage, {"execution_name": "old"}, created_at=datetime.now(UTC) - timedelta(days=4)
                )
            await put(b, *(f"new{number}" for number in range(7)), name="new")
            section = Section(undelivered_max=5)
            b.settings = b.settings.model_copy(update={"outbox": section})
            found = outbox_of(b, target)
            await found._cleaning.step()
            kept = await rows(b)
            failed = [row for row in kept if row.state == "failed"]
            assert [row.content for row in failed] == [b"old0", b"old1", b"old2"]
            assert failed[0].reason == (
                "not delivered within 3 days, 0:00:00 (outbox.undeliveredSeconds): no attempt was possible"
            )
            assert [row.content for row in kept if row.state == "pending"] == [b"new%d" % n for n in range(2, 7)]
            assert found.metrics()["mail_waiting"] == 5

        bench(scenario)

    def test_finished_messages_are_deleted_after_the_time_that_they_are_kept(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await put(b, *(str(number) for number in range(5)))
            async with running(b, Recorder()):
                await settled(b)
            async with b.context() as ctx:
                await ctx.db.update(OutboxMessage, {"content": b"0"}, finished_at=datetime.now(UTC) - timedelta(days=8))
            await outbox_of(b, Recorder())._cleaning.step()
            assert [row.content for row in await rows(b)] == [b"1", b"2", b"3", b"4"]

        bench(scenario)


def test_processes_are_counted_while_they_live(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        first, second = (Processes(b.database, f"machine/{number}/1") for number in (1, 2))
        for each in (first, second, first):
            await each.renew()
        assert (first.number, second.number) == (2, 2)
        await second.stop()
        await first.renew()
        assert first.number == 1
        # One that was killed.
        await second.renew()
        async with b.context() as ctx:
            ran_out = datetime.now(UTC) - timedelta(seconds=1)
            await ctx.db.update(schema.Lease, {"name": f"{processes.PREFIX}machine/2/1"}, leased_until=ran_out)
        await first.renew()
        assert first.number == 1

    bench(scenario)
