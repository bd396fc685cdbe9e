"""The local engine: takes launched executions, runs their nodes, reports what becomes of them.

Every server process with `engine: local` has one. They share the work by leases: a launch record belongs to the
process that wrote its name into it, until the lease ends or that process is gone. Waiting costs nothing; what others
may have left behind is looked for every few seconds.
Source: flytepropeller pkg/controller.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import structlog
from flyteidl.core import identifier_pb2
from sqlalchemy import bindparam, or_, select, update

from app import errors, schema
from app.engine.local.execution import run_execution
from app.engine.local.forkserver.stamp import started
from app.engine.local.processes import Runner
from app.engine.local.run import Run
from app.engine.local.slots import Slots
from app.services.ids import execution_key
from app.statements import Statement
from app.work import Server

log = structlog.get_logger(__name__)

LEASE_SECONDS = 30.0
TEND_SECONDS = 5.0
_LAUNCHES_MAX = 500

Key = tuple[str, str, str]

_launches = schema.table(schema.Launch)
_KEY = tuple(_launches.c[name] for name in ("execution_project", "execution_domain", "execution_name"))
_TAKE = Statement(
    update(_launches)
    .values(owner=bindparam("me"), leased_until=bindparam("until"))
    .where(
        *(column == bindparam(f"key_{column.name}") for column in _KEY),
        or_(
            _launches.c.owner.is_(None),
            _launches.c.leased_until < bindparam("now"),
            _launches.c.owner == bindparam("was"),
        ),
    )
)
_RENEW = Statement(
    update(_launches).values(leased_until=bindparam("until")).where(_launches.c.owner == bindparam("me"))
)
_OTHERS = Statement(
    select(*_KEY, _launches.c.owner, _launches.c.leased_until)
    .where(or_(_launches.c.owner.is_(None), _launches.c.owner != bindparam("me")))
    .order_by(_launches.c.id)
    .limit(_LAUNCHES_MAX)
)


class LocalEngine:
    """runner: starts processes. processes: places for them on this machine. platform: where tasks find this server."""

    def __init__(self, server: Server, *, progress: Any) -> None:
        self._server = server
        settings = server.settings
        self.runner = Runner(settings, server.blobs, progress=progress)
        places = settings.engine.local.processes_max or os.cpu_count() or 1
        self.processes = Slots(max(1, places // settings.server.workers))
        self.platform: Mapping[str, str] = {
            "FLYTE_PLATFORM_URL": f"localhost:{settings.server.http_port}",
            "FLYTE_PLATFORM_INSECURE": "true",
        }
        self._me = f"{socket.gethostname()}/{os.getpid()}/{started(os.getpid())}"
        self._runs: dict[Key, asyncio.Task[None]] = {}
        self._live: dict[Key, Run] = {}
        self._tending: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Take over what nobody runs, now and whenever it happens."""
        self._tending = asyncio.create_task(self._tend())

    async def stop(self) -> None:
        """Stop at once; processes go on and are adopted by the server that starts next."""
        self._stopping = True
        tasks = [*self._runs.values(), *([self._tending] if self._tending is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.runner.close()
        await self._release()

    def launched(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Run an execution that was just committed, unless another process is faster."""
        self._begin((execution.project, execution.domain, execution.name), was="")

    def aborted(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Abort an execution that runs here; one that runs elsewhere is found by its own process."""
        key = (execution.project, execution.domain, execution.name)
        run, task = self._live.get(key), self._runs.get(key)
        if run is not None and task is not None:
            run.reason = run.reason or "Workflow aborted."
            task.cancel()

    def signalled(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """A gate of the execution may go on."""

    def live(self, run: Run) -> None:
        """A run has read its rows and can be aborted from now on."""
        self._live[(run.id.project, run.id.domain, run.id.name)] = run

    def log_url(self, id: identifier_pb2.WorkflowExecutionIdentifier, node: str, attempt: int) -> str:
        """Where a browser finds what an attempt prints."""
        settings = self._server.settings
        base = settings.server.public_url or f"http://localhost:{settings.server.http_port}"
        return "/".join(
            (base, "logs", *(quote(part, safe="") for part in (id.project, id.domain, id.name, node)), str(attempt))
        )

    def _begin(self, key: Key, *, was: str) -> None:
        if key not in self._runs and not self._stopping:
            task = asyncio.create_task(self._run(key, was))
            self._runs[key] = task
            task.add_done_callback(lambda _: self._forget(key))

    def _forget(self, key: Key) -> None:
        self._runs.pop(key, None)
        self._live.pop(key, None)

    async def _run(self, key: Key, was: str) -> None:
        id = identifier_pb2.WorkflowExecutionIdentifier(project=key[0], domain=key[1], name=key[2])
        try:
            if await self._take(key, was):
                await run_execution(self, self._server, id)
                async with self._server.database.unit_of_work() as db:
                    await db.delete(schema.Launch, **execution_key(id))
        except asyncio.CancelledError:
            raise
        except Exception:
            # The lease runs out and the execution is tried again; nothing of it is lost.
            log.exception("execution_interrupted", project=key[0], domain=key[1], name=key[2])

    async def _take(self, key: Key, was: str) -> bool:
        now = datetime.now(UTC)
        named = {f"key_{column.name}": value for column, value in zip(_KEY, key, strict=True)}
        until = now + timedelta(seconds=LEASE_SECONDS)
        async with self._server.database.unit_of_work() as db:
            return await db.run(_TAKE, me=self._me, until=until, now=now, was=was, **named) == 1

    async def _tend(self) -> None:
        """Renew the leases and take over what is left behind."""
        while True:
            try:
                await self._tend_once()
            except errors.FlyteError as error:
                log.warning("engine_cannot_reach_database", reason=error.message)
            await asyncio.sleep(TEND_SECONDS)

    async def _tend_once(self) -> None:
        now = datetime.now(UTC)
        async with self._server.database.unit_of_work() as db:
            rows = await db.all(_OTHERS, me=self._me)
        if self._runs:
            until = now + timedelta(seconds=LEASE_SECONDS)
            async with self._server.database.unit_of_work() as db:
                await db.run(_RENEW, me=self._me, until=until)
        for row in rows:
            free = row.owner is None or row.leased_until is None or row.leased_until < now
            if free or _is_gone(row.owner):
                self._begin((row.execution_project, row.execution_domain, row.execution_name), was=row.owner or "")

    async def _release(self) -> None:
        """Leave what is not finished to the next process at once."""
        try:
            async with self._server.database.unit_of_work() as db:
                await db.update(schema.Launch, {"owner": self._me}, owner=None, leased_until=None)
        except errors.FlyteError as error:
            # The leases run out by themselves.
            log.warning("leases_not_released", reason=error.message)


def _is_gone(owner: str) -> bool:
    """Whether the owner was a process of this machine that has ended."""
    host, _, rest = owner.partition("/")
    pid, _, stamp = rest.partition("/")
    return host == socket.gethostname() and pid.isdigit() and started(int(pid)) != stamp
