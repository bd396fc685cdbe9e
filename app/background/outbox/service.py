"""The background service that delivers the messages of the outbox.

For each target one task claims due messages and starts their deliveries. Where the target is ordered, the messages of
an execution are delivered one after the other, up to one that must be tried again. Memory holds at most CLAIMED_MAX
messages of each target; their content is read just before the delivery.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from app import errors, limited_log
from app.background.outbox import claims, cleaning
from app.background.outbox.outcomes import Outcomes
from app.background.outbox.processes import Processes
from app.background.outbox.targets import (
    TARGETS,
    Away,
    Backoff,
    Delivery,
    Ended,
    MessageRefused,
    Target,
    TryAgain,
    by_name,
)
from app.database import schema
from app.database.outbox_tables import OutboxMessage
from app.engine.owner import has_ended, owner_name
from app.runtime.dispatch import Server
from app.runtime.leases import Leases

# Messages of a target that a process holds at the same time.
CLAIMED_MAX = 200
# Time between two looks for due messages that another process wrote, or whose next attempt is due.
LOOK_SECONDS = 1.0
# Time between two renewals of leases.
RENEW_SECONDS = 10.0
# Times for which a target waits that cannot deliver anything: doubled from the first up to the second.
AWAY_SECONDS, AWAY_SECONDS_MAX = 1.0, 60.0
# Time between two looks at a receiver that could not be used, while no message is due.
CHECK_SECONDS = 30.0
# Longest time of one attempt. Targets have shorter limits of their own.
ATTEMPT_SECONDS_MAX = 120.0
# Time for the delivery of messages that are due when the service stops.
STOP_SECONDS = 5.0

log = structlog.get_logger(__name__)


class _Work:
    """The state of one target in this process."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.wake = asyncio.Event()
        self.running: set[asyncio.Task[None]] = set()
        # The ids of claimed messages without an outcome.
        self.held: set[int] = set()
        self.delivered = self.failed = self.retried = 0
        self.problem = ""
        self.away_times = 0
        self.away_until = 0.0
        self.checked_at = 0.0


class Outbox:
    """Background service that delivers messages.

    Args:
        server: The objects of this process.
        targets: One for each name that this process delivers.
    """

    name = "outbox"

    def __init__(self, server: Server, targets: Sequence[Target]) -> None:
        self._server = server
        self._section = server.settings.outbox
        self._works = {name: _Work(target) for name, target in by_name(targets).items()}
        self._me = owner_name()
        self._leases = Leases(server.database, OutboxMessage, ("id",), owner=self._me, has_ended=has_ended)
        self._outcomes = Outcomes(server.database, self._me)
        self._cleaning = cleaning.Cleaning(server.database, server.settings, TARGETS, self._me)
        self._processes = Processes(server.database, self._me)
        self._tasks: list[asyncio.Task[None]] = []
        # Whether messages were claimed since the last renewal, and messages that were owned then and not held.
        self._claimed = False
        self._strays: set[int] = set()
        self._stopping = False
        self._failure = ""

    def wake(self) -> None:
        """Look for due messages now."""
        for work in self._works.values():
            work.wake.set()

    async def start(self) -> None:
        """Open the targets and begin to deliver. Targets are tried in the background."""
        opened: list[Target] = []
        try:
            for work in self._works.values():
                await work.target.open()
                opened.append(work.target)
            async with self._server.database.unit_of_work() as unit:
                for name in self._works:
                    await unit.insert_if_absent(schema.Lease, name=claims.lock_name(name))
        except BaseException:
            for target in opened:
                await target.close()
            raise
        self._stopping = False
        self._tasks = [asyncio.create_task(self._deliver(work)) for work in self._works.values()]
        self._tasks.append(asyncio.create_task(self._maintain()))

    async def stop(self) -> None:
        """Deliver what is due, for at most STOP_SECONDS, then release the leases and close the targets."""
        self._stopping = True
        self.wake()
        delivering, maintaining = self._tasks[:-1], self._tasks[-1:]
        if delivering:
            await asyncio.wait(delivering, timeout=STOP_SECONDS)
        running = [task for work in self._works.values() for task in work.running]
        for task in (*self._tasks, *running):
            task.cancel()
        await asyncio.gather(*delivering, *maintaining, *running, return_exceptions=True)
        await self._outcomes.flush()
        try:
            await self._processes.stop()
            await self._cleaning.stop()
            await self._leases.release()
        except errors.FlyteError as error:
            # The leases expire by themselves.
            log.warning("outbox_leases_not_released", reason=error.message)
        for work in self._works.values():
            await work.target.close()

    def health(self) -> str:
        """Return "" while the outbox reaches the database. A receiver that is away is no reason."""
        return self._failure

    def problems(self) -> dict[str, str]:
        """Return why targets cannot be used, by name; only those with a reason."""
        return {name: work.problem for name, work in self._works.items() if work.problem}

    def target(self, name: str) -> Target | None:
        """Return the target of a name, None where this process has none."""
        work = self._works.get(name)
        return work.target if work is not None else None

    def states(self) -> dict[str, str]:
        """Return "" or why it cannot be used now, for each target."""
        return {name: work.problem for name, work in self._works.items()}

    def metrics(self) -> Mapping[str, float]:
        """Return the gauges; `waiting` and `oldest_seconds` are 0 in processes that do not clean."""
        found: dict[str, float] = {}
        for name, work in self._works.items():
            found |= {
                f"{name}_delivered": float(work.delivered),
                f"{name}_failed": float(work.failed),
                f"{name}_retried": float(work.retried),
                f"{name}_available": float(not work.problem),
                **{f"{name}_{key}": value for key, value in self._cleaning.backlog(name).items()},
            }
        return found

    # Claims.

    async def _deliver(self, work: _Work) -> None:
        """Claim and deliver the messages of one target until the service stops and nothing more is due."""
        await self._check(work)
        while True:
            claimed = 0
            try:
                if not self._is_away(work):
                    claimed = await self._claim(work)
                self._failure = ""
            except Exception as error:
                # The task must not end: the messages of this target would stay undelivered.
                if not isinstance(error, errors.FlyteError):
                    log.exception("outbox_claim_failed", target=work.target.name)
                limited_log.warning("outbox_cannot_claim", target=work.target.name, reason=str(error))
                self._failure = str(error) or repr(error)
            if self._stopping and not claimed and not work.running:
                return
            if work.problem and not claimed and not work.held and not self._stopping and not self._is_away(work):
                # No delivery shows whether the receiver is back.
                await self._check(work)
            await self._sleep(work, claimed)

    def _is_away(self, work: _Work) -> bool:
        return asyncio.get_running_loop().time() < work.away_until

    async def _sleep(self, work: _Work, claimed: int) -> None:
        """Wait until a delivery ends, a message may be due, or it is time to look."""
        if claimed and len(work.held) < CLAIMED_MAX:
            return
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await work.wake.wait()
        except TimeoutError:
            pass
        work.wake.clear()

    async def _claim(self, work: _Work) -> int:
        """Claim due messages and start their deliveries; return how many messages were claimed."""
        target, free = work.target, self._section.deliveries_max - len(work.running)
        most = min(CLAIMED_MAX - len(work.held), CLAIMED_MAX if target.ordered else free)
        if free <= 0 or most <= 0:
            return 0
        now = datetime.now(UTC)
        async with self._server.database.unit_of_work() as unit:
            rows = await claims.claim(unit, target.name, ordered=target.ordered, me=self._me, most=most, now=now)
        self._claimed = self._claimed or bool(rows)
        groups: dict[Any, list[Any]] = {}
        for row in rows:
            groups.setdefault(execution_of(row) if target.ordered else row.id, []).append(row)
        for group in groups.values():
            work.held.update(row.id for row in group)
            task = asyncio.create_task(self._run(work, group))
            work.running.add(task)
            task.add_done_callback(work.running.discard)
        return len(rows)

    async def _run(self, work: _Work, rows: Sequence[Any]) -> None:
        """Deliver messages one after the other; release the rest after one that must be tried again."""
        target, done = work.target, 0
        try:
            while done < len(rows) and await self._attempt(work, rows[done]):
                done += 1
            if done + 1 < len(rows):
                await self._outcomes.give_back(target.name, execution_of(rows[0]), after=rows[done].id)
        except errors.FlyteError as error:
            # `_renew` releases the messages, and they are tried again.
            limited_log.warning("outbox_outcome_not_recorded", target=target.name, reason=error.message)
        finally:
            work.held.difference_update(row.id for row in rows)
            work.wake.set()

    # Attempts.

    async def _attempt(self, work: _Work, row: Any) -> bool:
        """Deliver a message and record the outcome; return whether the following message may be delivered."""
        async with self._server.database.unit_of_work() as unit:
            found = await unit.find(OutboxMessage, columns=("content",), id=row.id)
        if found is None:
            return True
        delivery = Delivery(
            id=row.id,
            delivery_id=row.delivery_id,
            target=row.target,
            kind=row.kind,
            execution=execution_of(row),
            recipient=row.recipient,
            content=found.content,
            created_at=row.created_at,
            attempts=row.attempts,
            processes=self._processes.number,
        )
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS_MAX):
                reply = await work.target.deliver(delivery)
        except Away as error:
            self._set_away(work, str(error))
            await self._outcomes.again(delivery, timedelta(0), str(error), counts=False)
            return False
        except MessageRefused as error:
            if isinstance(error, Ended):
                work.problem = str(error)
            await self._fail(work, delivery, str(error))
            return True
        except TryAgain as error:
            return await self._retry(work, delivery, error)
        except TimeoutError:
            return await self._retry(work, delivery, TryAgain(f"no reply within {ATTEMPT_SECONDS_MAX:g} s"))
        except Exception as error:  # noqa: BLE001 - logged, limited in rate
            limited_log.error("outbox_attempt_failed", key=work.target.name, target=work.target.name, exc_info=True)
            return await self._retry(work, delivery, TryAgain(f"the attempt failed ({type(error).__name__})"))
        self._set_present(work)
        work.delivered += 1
        await self._outcomes.delivered(delivery, reply)
        return True

    async def _retry(self, work: _Work, delivery: Delivery, error: TryAgain) -> bool:
        """Plan the next attempt of a message, or let the message fail after the last one."""
        backoff: Backoff = work.target.backoff
        attempts = delivery.attempts + error.counts
        if backoff.attempts is not None and attempts >= backoff.attempts:
            await self._fail(work, delivery, f"{error} (attempt {attempts} of {backoff.attempts})")
            return True
        seconds = error.after_seconds if error.after_seconds is not None else backoff.seconds(attempts)
        if error.counts:
            work.retried += 1
            limited_log.warning(
                "delivery_delayed",
                key=work.target.name,
                target=work.target.name,
                to=delivery.recipient,
                reason=str(error),
            )
        await self._outcomes.again(delivery, timedelta(seconds=seconds), str(error), counts=error.counts)
        return False

    async def _fail(self, work: _Work, delivery: Delivery, reason: str) -> None:
        work.failed += 1
        limited_log.warning(
            "delivery_failed",
            key=work.target.name,
            target=work.target.name,
            to=delivery.recipient,
            execution="/".join(delivery.execution),
            delivery=delivery.delivery_id,
            reason=reason,
            # Later messages of the execution are delivered without this one.
            gap=work.target.ordered,
        )
        await self._outcomes.failed(delivery, reason)

    def _set_away(self, work: _Work, reason: str) -> None:
        """Let the target wait, twice as long as the time before."""
        now = asyncio.get_running_loop().time()
        work.problem = reason
        if now < work.away_until:
            return
        work.away_until = now + min(AWAY_SECONDS_MAX, AWAY_SECONDS * 2 ** min(work.away_times, 10))
        work.away_times += 1
        limited_log.warning("target_away", key=work.target.name, target=work.target.name, reason=reason)

    def _set_present(self, work: _Work) -> None:
        if work.problem:
            log.info("target_available", target=work.target.name)
        work.problem, work.away_times, work.away_until = "", 0, 0.0

    async def _check(self, work: _Work) -> None:
        """Try the receiver, at most once in CHECK_SECONDS, and log why it cannot be used. The process stays ready."""
        now = asyncio.get_running_loop().time()
        if work.checked_at and now - work.checked_at < CHECK_SECONDS:
            return
        work.checked_at = now
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS_MAX):
                problem = await work.target.check()
        except Exception as error:  # noqa: BLE001 - the reason is logged and shown; deliveries try again
            problem = str(error) or type(error).__name__
        if not problem:
            self._set_present(work)
            return
        if problem != work.problem:
            log.warning("target_not_available", target=work.target.name, reason=problem)
        work.problem = problem

    # Leases and old messages.

    async def _maintain(self) -> None:
        """Renew leases, free those of ended processes, and delete old messages."""
        while True:
            try:
                await self._processes.renew()
                await self._leases.release_ended()
                await self._renew()
                await self._cleaning.step()
            except errors.FlyteError as error:
                limited_log.warning("outbox_not_maintained", reason=error.message)
            except Exception:
                # The task must not end: leases would run out during a delivery.
                log.exception("outbox_not_maintained")
            await asyncio.sleep(RENEW_SECONDS)

    async def _renew(self) -> None:
        """Renew leases. Release messages that nothing delivers any more, because their outcome was not recorded.

        A claim that has just committed is not held yet, so a message is released when it is found twice.
        """
        held = set().union(*(work.held for work in self._works.values()))
        if not held and not self._strays and not self._claimed:
            return
        # One more look follows after the last delivery: its outcome may not have been recorded.
        self._claimed = bool(held)
        strays = {int(key[0]) for key in await self._leases.renew()} - held
        for message in strays & self._strays:
            await self._leases.release((message,))
        self._strays = strays


def execution_of(row: Any) -> claims.Execution:
    """Return project, domain and name of the execution that a message is about."""
    return row.execution_project, row.execution_domain, row.execution_name
