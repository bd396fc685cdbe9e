"""SQL of the outbox: claim due messages for a target, record outcomes, delete old messages.

A message is claimed by a lease (app/runtime/leases.py). Claims of one target are serialised by the lock on a row of the
table `leases`, because two claims at the same time could take two messages of one execution out of order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, Text, and_, bindparam, delete, exists, func, or_, select, update

from app.database import schema
from app.database.base import UnitOfWork
from app.database.outbox_tables import OutboxMessage
from app.database.statements import Statement
from app.runtime.leases import end_of_lease, is_free, is_held

PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
# The reason of a finished message that waits to be sent again. It keeps its age, and is tried at least once.
REPLAYED = "sent again by request"
# Project, domain and name.
Execution = tuple[str, str, str]

_MESSAGES = schema.table(OutboxMessage)
_TIME = _MESSAGES.c.created_at.type
_EXECUTION = ("execution_project", "execution_domain", "execution_name")
_CLAIMED = ("id", "delivery_id", "target", "kind", "recipient", *_EXECUTION, "created_at", "attempts")


def _due(ordered: bool) -> Select[Any]:
    """Return the SELECT of the ids of messages that can be delivered now."""
    now = bindparam("now", type_=_TIME)
    pending = and_(_MESSAGES.c.target == bindparam("target"), _MESSAGES.c.state == PENDING)
    query = select(_MESSAGES.c.id).where(pending, _MESSAGES.c.next_at <= now, is_free(_MESSAGES))
    if ordered:
        earlier = _MESSAGES.alias("earlier")
        waits = or_(earlier.c.next_at > now, is_held(earlier))
        same = (earlier.c[name] == _MESSAGES.c[name] for name in (*_EXECUTION, "target"))
        query = query.where(~exists().where(*same, earlier.c.state == PENDING, earlier.c.id < _MESSAGES.c.id, waits))
    return query


@lru_cache(maxsize=2)
def _any_due(ordered: bool) -> Statement:
    return Statement(_due(ordered).limit(1))


@lru_cache(maxsize=2)
def _claim(ordered: bool) -> Statement:
    order = (_MESSAGES.c.id,) if ordered else (_MESSAGES.c.next_at, _MESSAGES.c.id)
    ids = _due(ordered).order_by(*order).limit(bindparam("most")).scalar_subquery()
    claim = update(_MESSAGES).where(_MESSAGES.c.id.in_(ids))
    claim = claim.values(owner=bindparam("me"), leased_until=end_of_lease())
    return Statement(claim.returning(*(_MESSAGES.c[name] for name in _CLAIMED)))


@lru_cache(maxsize=1)
def _record() -> Statement:
    mine = (_MESSAGES.c.id == bindparam("message"), _MESSAGES.c.owner == bindparam("me"))
    names = ("state", "attempts", "next_at", "finished_at", "reply", "reason", "updated_at")
    values = {name: bindparam(name, type_=_MESSAGES.c[name].type) for name in names}
    statement = update(_MESSAGES).where(*mine, _MESSAGES.c.state == PENDING)
    return Statement(statement.values(**values, owner=None, leased_until=None))


@lru_cache(maxsize=1)
def _give_back() -> Statement:
    same = (_MESSAGES.c[name] == bindparam(name) for name in (*_EXECUTION, "target"))
    mine = (_MESSAGES.c.owner == bindparam("me"), _MESSAGES.c.state == PENDING, _MESSAGES.c.id > bindparam("after"))
    return Statement(update(_MESSAGES).where(*mine, *same).values(owner=None, leased_until=None))


async def claim(unit: UnitOfWork, target: str, *, ordered: bool, me: str, most: int, now: datetime) -> Sequence[Any]:
    """Claim messages that are due, at most `most`, and return them without their content in the order of delivery."""
    if await unit.one(_any_due(ordered), target=target, now=now) is None:
        return ()
    await unit.find(schema.Lease, columns=("name",), for_update=True, name=lock_name(target))
    rows = await unit.all(_claim(ordered), target=target, now=now, me=me, most=most)
    return sorted(rows, key=lambda row: row.id)


def lock_name(target: str) -> str:
    """Return the name of the row of `leases` whose lock serialises the claims of a target."""
    return f"outbox/{target}"


async def record(unit: UnitOfWork, message: int, me: str, **columns: Any) -> bool:
    """Store the outcome of an attempt; False where this process has lost the lease."""
    return await unit.run(_record(), message=message, me=me, **columns) == 1


async def give_back(unit: UnitOfWork, target: str, execution: Execution, me: str, *, after: int) -> None:
    """Release the messages of an execution that this process has claimed for a target, those after one message."""
    key = dict(zip(_EXECUTION, execution, strict=True))
    await unit.run(_give_back(), me=me, target=target, after=after, **key)


# Cleaning. Each function works on a limited number of rows.


@lru_cache(maxsize=1)
def finished_before() -> Statement:
    """Return the DELETE of at most `most` messages that were finished before `now`."""
    ids = select(_MESSAGES.c.id).where(_MESSAGES.c.finished_at < bindparam("now", type_=_TIME))
    return Statement(delete(_MESSAGES).where(_MESSAGES.c.id.in_(ids.limit(bindparam("most")).scalar_subquery())))


@lru_cache(maxsize=1)
def _too_many() -> Statement:
    query = select(_MESSAGES.c.id).where(_MESSAGES.c.target == bindparam("target"), _MESSAGES.c.state == PENDING)
    return Statement(query.order_by(_MESSAGES.c.id.desc()).limit(1).offset(bindparam("allowed")))


@lru_cache(maxsize=1)
def _drop() -> Statement:
    pending = and_(_MESSAGES.c.target == bindparam("target"), _MESSAGES.c.state == PENDING)
    ids = select(_MESSAGES.c.id).where(pending, _MESSAGES.c.id <= bindparam("last")).limit(bindparam("most"))
    return Statement(delete(_MESSAGES).where(_MESSAGES.c.id.in_(ids.scalar_subquery())))


async def drop_oldest(unit: UnitOfWork, target: str, *, allowed: int, most: int) -> int:
    """Delete the oldest waiting messages of a target above the number allowed, at most `most`. Return how many."""
    row = await unit.one(_too_many(), target=target, allowed=allowed)
    return 0 if row is None else await unit.run(_drop(), target=target, last=row.id, most=most)


@lru_cache(maxsize=1)
def _give_up() -> Statement:
    now = bindparam("now", type_=_TIME)
    old = select(_MESSAGES.c.id).where(
        _MESSAGES.c.target == bindparam("target"),
        _MESSAGES.c.state == PENDING,
        _MESSAGES.c.created_at < bindparam("before", type_=_TIME),
        _MESSAGES.c.reason.is_distinct_from(REPLAYED),
        is_free(_MESSAGES),
    )
    ids = old.order_by(_MESSAGES.c.id).limit(bindparam("most")).scalar_subquery()
    statement = update(_MESSAGES).where(_MESSAGES.c.id.in_(ids))
    values = {"state": FAILED, "next_at": None, "finished_at": now, "updated_at": now, "owner": None}
    reason = func.coalesce(_MESSAGES.c.reason, "no attempt was possible")
    return Statement(statement.values(**values, reason=bindparam("text", type_=Text()) + reason))


async def give_up(unit: UnitOfWork, target: str, *, before: datetime, now: datetime, text: str, most: int) -> int:
    """Let messages fail that were written before a time, with a text before the last reason. Return how many."""
    return await unit.run(_give_up(), target=target, before=before, now=now, text=text, most=most)


@lru_cache(maxsize=1)
def _backlog() -> Statement:
    waiting = select(_MESSAGES.c.created_at).where(
        _MESSAGES.c.target == bindparam("target"), _MESSAGES.c.state == PENDING
    )
    page = waiting.order_by(_MESSAGES.c.id).limit(bindparam("most")).subquery()
    return Statement(select(func.count().label("rows"), func.min(page.c.created_at).label("oldest")).select_from(page))


async def backlog(unit: UnitOfWork, target: str, *, most: int) -> tuple[int, datetime | None]:
    """Return how many messages wait, counted up to `most`, and the time of the oldest one."""
    row = await unit.one(_backlog(), target=target, most=most)
    return (0, None) if row is None else (int(row.rows), row.oldest)


# Sending again.


@lru_cache(maxsize=1)
def _finished_between() -> Statement:
    shown = (_MESSAGES.c[name] for name in ("id", "target", "state"))
    query = select(*shown).where(
        _MESSAGES.c.target == bindparam("target"),
        _MESSAGES.c.state != PENDING,
        # A message is finished after it was written; this column has an index.
        _MESSAGES.c.finished_at >= bindparam("since", type_=_TIME),
        _MESSAGES.c.created_at >= bindparam("since", type_=_TIME),
        _MESSAGES.c.created_at < bindparam("until", type_=_TIME),
        _MESSAGES.c.id > bindparam("after"),
    )
    return Statement(query.order_by(_MESSAGES.c.id).limit(bindparam("most")))


@lru_cache(maxsize=1)
def _replay() -> Statement:
    now = bindparam("now", type_=_TIME)
    statement = update(_MESSAGES).where(_MESSAGES.c.id == bindparam("message"), _MESSAGES.c.state != PENDING)
    values = {"state": PENDING, "attempts": 0, "next_at": now, "finished_at": None, "updated_at": now, "reply": None}
    return Statement(statement.values(**values, reason=REPLAYED))


async def finished_between(
    unit: UnitOfWork, target: str, *, since: datetime, until: datetime, after: int, most: int
) -> Sequence[Any]:
    """Return id and state of the finished messages of a target that were written in [since, until), by id."""
    return await unit.all(_finished_between(), target=target, since=since, until=until, after=after, most=most)


async def replay(unit: UnitOfWork, message: int, now: datetime) -> bool:
    """Let a finished message wait again; False where it is not finished."""
    return await unit.run(_replay(), message=message, now=now) == 1
