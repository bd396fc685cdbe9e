"""Watch for changes that other processes make: aborts, signals, the ends of child executions.

Changes of this process set the events of its waiting nodes at once. For those of other processes the watch polls the
database once a second, with one query for each kind of change that any node waits for.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import structlog
from sqlalchemy import bindparam, func, select

from app import errors
from app.database import schema
from app.database.base import Database
from app.database.statements import Statement
from app.engine.local.host import ExecutionKey
from app.services.execution_ids import execution_columns, same_execution

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0

Watched: TypeAlias = defaultdict[Hashable, set[asyncio.Event]]

_launches, _executions = schema.table(schema.Launch), schema.table(schema.Execution)
_signals, _nodes = schema.table(schema.Signal), schema.table(schema.NodeExecution)
_children = _launches.alias("children")


_ABORTING = Statement(
    select(*execution_columns(_launches))
    .select_from(_launches.join(_executions, same_execution(_launches, _executions)))
    .where(_launches.c.owner == bindparam("me"), _executions.c.phase == "ABORTING")
)
_SIGNALLED = Statement(
    select(*execution_columns(_signals), _signals.c.signal_id)
    .select_from(_launches.join(_signals, same_execution(_launches, _signals)))
    .where(_launches.c.owner == bindparam("me"), func.length(_signals.c.value) > 0)
)
# Selects all unfinished child executions, which have launch records, of the executions that run here.
_OPEN_CHILDREN = Statement(
    select(*execution_columns(_children))
    .select_from(
        _children.join(_executions, same_execution(_children, _executions))
        .join(_nodes, _nodes.c.id == _executions.c.parent_node_execution_id)
        .join(_launches, same_execution(_launches, _nodes))
    )
    .where(_launches.c.owner == bindparam("me"))
)


class ChangeWatch:
    """Implements `Watch` for one engine.

    Args:
        database: The database.
        me: The owner that the engine writes into launch records.
        runs: Returns the executions that run in this process; their ends need no query.
        aborting: Called with each execution of this process whose phase is ABORTING.
    """

    def __init__(
        self,
        database: Database,
        *,
        me: str,
        runs: Callable[[], set[ExecutionKey]],
        aborting: Callable[[ExecutionKey], None],
    ) -> None:
        self._database = database
        self._me = me
        self._runs = runs
        self._aborting = aborting
        self._gates: Watched = defaultdict(set)
        self._ends: Watched = defaultdict(set)
        self._polling: asyncio.Task[None] | None = None

    @contextmanager
    def signal(self, execution: ExecutionKey, signal_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set each time when the signal may have got a value."""
        with self._waiting(self._gates, (*execution, signal_id)) as event:
            yield event

    @contextmanager
    def end(self, execution: ExecutionKey) -> Iterator[asyncio.Event]:
        """Yield an event that is set each time when the execution may have ended."""
        with self._waiting(self._ends, execution) as event:
            yield event

    def signalled(self, execution: ExecutionKey) -> None:
        """Notify the gates that wait for signals of an execution."""
        for key, events in self._gates.items():
            if isinstance(key, tuple) and key[:3] == execution:
                _set(events)

    def ended(self, execution: ExecutionKey) -> None:
        """Notify the nodes that wait for the end of an execution."""
        _set(self._ends.get(execution, set()))

    def poll(self) -> None:
        """Start to poll the database, unless the watch polls already. It stops when no execution runs here."""
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())

    async def close(self) -> None:
        """Stop polling."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait((self._polling,))

    @contextmanager
    def _waiting(self, watched: Watched, key: Hashable) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        watched[key].add(event)
        try:
            yield event
        finally:
            watched[key].discard(event)
            if not watched[key]:
                del watched[key]

    async def _poll(self) -> None:
        failed = False
        while self._runs():
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._query()
                failed = False
            except errors.FlyteError as error:
                if not failed:
                    log.warning("changes_not_read", reason=error.message)
                failed = True
            except Exception:
                # The loop must survive any exception: without it no change of another process is found.
                log.exception("changes_not_read")

    async def _query(self) -> None:
        elsewhere = set(self._ends) - self._runs()
        async with self._database.unit_of_work() as db:
            aborting = await db.all(_ABORTING, me=self._me)
            signalled = await db.all(_SIGNALLED, me=self._me) if self._gates else ()
            children = await db.all(_OPEN_CHILDREN, me=self._me) if elsewhere else ()
        for row in aborting:
            self._aborting((row[0], row[1], row[2]))
        for row in signalled:
            _set(self._gates.get(tuple(row), set()))
        for key in elsewhere - {tuple(row) for row in children}:
            _set(self._ends.get(key, set()))


def _set(events: set[asyncio.Event]) -> None:
    for event in events:
        event.set()
