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
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
from flyteidl.core import compiler_pb2, identifier_pb2
from sqlalchemy import bindparam, or_, select

from app import errors
from app.database import schema
from app.database.statements import Statement
from app.engine.local.execution import run_execution
from app.engine.local.graph.closures import ClosureCache
from app.engine.local.host import AttemptRunner, ExecutionKey, Watch
from app.engine.local.processes import folders
from app.engine.local.processes.forkserver.stamp import started
from app.engine.local.processes.runner import TaskRunner
from app.engine.local.watch import ChangeWatch
from app.runtime import leases
from app.runtime.dispatch import Server
from app.services.execution_ids import EXECUTION_KEY, execution_columns, execution_key, same_execution

log = structlog.get_logger(__name__)

TEND_SECONDS = 5.0
_PAUSE_SECONDS = 0.2
_LAUNCHES_MAX = 500

_launches, _executions = schema.table(schema.Launch), schema.table(schema.Execution)
_KEY = execution_columns(_launches)
_IS_FREE = leases.is_free(_launches)
_FREE = Statement(select(*_KEY).where(_IS_FREE).order_by(_launches.c.id).limit(bindparam("rows")))
_FREE_AND_URGENT = Statement(
    select(*_KEY)
    .select_from(_launches.join(_executions, same_execution(_launches, _executions)))
    .where(_IS_FREE, or_(_executions.c.parent_node_execution_id > 0, _executions.c.phase == "ABORTING"))
    .order_by(_launches.c.id)
    .limit(_LAUNCHES_MAX)
)


class LocalEngine:
    """runner: starts processes.

    platform: where tasks find this server. watch: tells of what others change.
    """

    name = "local_engine"

    def __init__(self, server: Server, *, progress: Any, runner: AttemptRunner | None = None) -> None:
        self._server = server
        settings = server.settings
        self.runner: AttemptRunner = runner or TaskRunner(settings, server.blobs, progress=progress)
        # Memory is bounded by holding so many executions; what is launched beyond that waits in its row.
        self._executions_max = max(1, settings.engine.local.executions_max // settings.server.workers)
        self._closures = ClosureCache(server.blobs, bytes_max=settings.storage.limits.closure_bytes_max)
        self.platform: Mapping[str, str] = {
            "FLYTE_PLATFORM_URL": f"localhost:{settings.server.http_port}",
            "FLYTE_PLATFORM_INSECURE": "true",
        }
        self.console_url = settings.flyteadmin.console_url
        me = f"{socket.gethostname()}/{os.getpid()}/{started(os.getpid())}"
        self._leases = leases.Leases(server.database, schema.Launch, EXECUTION_KEY, owner=me, has_ended=_has_ended)
        self._tasks: dict[ExecutionKey, asyncio.Task[None]] = {}
        # What is taken and runs here; what is being aborted of it.
        self._running: set[ExecutionKey] = set()
        self._homes: dict[ExecutionKey, Path] = {}
        self._aborting: set[ExecutionKey] = set()
        self._changes = ChangeWatch(server.database, me=me, runs=lambda: self._running, aborting=self._abort)
        self.watch: Watch = self._changes
        self._tending: asyncio.Task[None] | None = None
        # There is more to begin than was begun; set when it is worth to look at once.
        self._more = False
        self._look = asyncio.Event()
        self._stopping = False
        # Why the leases are not renewed at present, "" while they are.
        self._failure = ""

    async def start(self) -> None:
        """Take over executions without an owner, now and every few seconds."""
        await self.runner.remove_abandoned_folders()
        self._tending = asyncio.create_task(self._tend())

    async def stop(self) -> None:
        """Stop at once; processes go on and are adopted by the server that starts next."""
        self._stopping = True
        self._running.clear()
        tasks = [*self._tasks.values(), *([self._tending] if self._tending is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._changes.close()
        await self.runner.close()
        await self._release()

    def health(self) -> str:
        """Return why the engine does not renew its leases, "" while it does."""
        return self._failure

    def metrics(self) -> Mapping[str, float]:
        """Return the number of executions that are held in memory."""
        return {"executions": len(self._tasks)}

    def launched(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Run an execution that was just committed, unless another process is faster or too many run already."""
        if len(self._tasks) < self._executions_max and not self._more:
            self._begin(_key(execution))
        else:
            # It may be the child of one that runs, which the rows tell.
            self._look.set()

    def aborted(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Abort an execution that runs here, or waits; one that runs elsewhere is found by its own process."""
        self._abort(_key(execution))
        if self._more:
            self._look.set()

    def signalled(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """A gate of the execution may go on."""
        self._changes.signalled(_key(execution))

    def is_running(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> bool:
        """Whether an execution is still to be run by this process."""
        return _key(id) in self._running

    def home_of(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> Path:
        """The home below which the attempts of an execution lie that runs here: another server may have begun it."""
        return self._homes[_key(id)]

    async def closure_of(self, workflow: Any) -> compiler_pb2.CompiledWorkflowClosure:
        """Read the compiled workflow of a row through the cache."""
        return await self._closures.get(workflow)

    def log_url(self, id: identifier_pb2.WorkflowExecutionIdentifier, node: str, attempt: int) -> str:
        """Where a browser finds what an attempt prints."""
        settings = self._server.settings
        base = settings.server.public_url or f"http://localhost:{settings.server.http_port}"
        return "/".join(
            (base, "logs", *(quote(part, safe="") for part in (id.project, id.domain, id.name, node)), str(attempt))
        )

    def _begin(self, key: ExecutionKey) -> None:
        if key not in self._tasks and not self._stopping:
            task = asyncio.create_task(self._run(key))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._forget(key))

    def _forget(self, key: ExecutionKey) -> None:
        self._tasks.pop(key, None)
        self._running.discard(key)
        self._aborting.discard(key)
        self._homes.pop(key, None)
        self._changes.ended(key)
        if self._more:
            self._look.set()

    def _abort(self, key: ExecutionKey) -> None:
        """Make a run look at its row again; one that does not run yet will see it by itself."""
        if key in self._running and key not in self._aborting:
            self._aborting.add(key)
            self._tasks[key].cancel()

    async def _run(self, key: ExecutionKey) -> None:
        id = identifier_pb2.WorkflowExecutionIdentifier(project=key[0], domain=key[1], name=key[2])
        try:
            home = await self._take(id)
            if home is None:
                return
            self._running.add(key)
            self._homes[key] = home
            self._changes.poll()
            await run_execution(self, self._server, id)
            self._running.discard(key)
            async with self._server.database.unit_of_work() as db:
                await db.delete(schema.Launch, **execution_key(id))
                # They hold no longer than the launch record; here is where they are cleared away.
                await db.delete(schema.CatalogReservation, **execution_key(id))
        except errors.FlyteError as error:
            # The database failed, so the log needs no traceback; the launch record is still there, as below.
            log.warning("execution_interrupted", execution=key[2], reason=error.message)
        except Exception:
            # The launch record is still there, and whoever tends it next tries again; nothing of it is lost.
            log.exception("execution_interrupted", project=key[0], domain=key[1], name=key[2])

    async def _take(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> Path | None:
        """Make an execution ours; the home below which its attempts lie, None where another process was faster."""
        async with self._server.database.unit_of_work() as db:
            row = await db.find(schema.Launch, columns=("home",), **execution_key(id))
            if row is None:
                return None
            home = folders.home_of(row.home or "", id) or self._server.settings.home_path
            taken = await self._leases.take(db, _key(id), home=f"{socket.gethostname()}{home}")
        return home if taken else None

    async def _tend(self) -> None:
        """Keep what runs here and take over what is left behind."""
        due = 0.0
        while True:
            try:
                if time.monotonic() >= due:
                    due = time.monotonic() + TEND_SECONDS
                    await self._keep()
                    await self._leases.release_ended()
                self._look.clear()
                await self._take_over()
                self._failure = ""
            except errors.FlyteError as error:
                if not self._failure:
                    log.warning("engine_cannot_reach_database", reason=error.message)
                self._failure = error.message or type(error).__name__
            except Exception as error:
                # Without this loop every lease would run out.
                log.exception("executions_not_tended")
                self._failure = repr(error)
            # Many ends and launches in a row are worth one look.
            await asyncio.sleep(_PAUSE_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), max(0.0, due - time.monotonic()))

    async def _keep(self) -> None:
        """Renew the leases; let go of what another process has taken over because a renewal came too late."""
        running, began = set(self._running), set(self._tasks)
        if not running:
            return
        mine = await self._leases.renew()
        for key in running - mine:
            if key in self._running:
                log.warning("execution_taken_over_by_another_process", project=key[0], domain=key[1], name=key[2])
                self._running.discard(key)
                self._tasks[key].cancel()
        # Those whose run broke off on an error of this program are given back, to be tried again.
        for key in mine - began - set(self._tasks):
            await self._release(key)

    async def _take_over(self) -> None:
        """Begin what has no owner, as far as there is room for it."""
        now = datetime.now(UTC)
        room = max(0, self._executions_max - len(self._tasks))
        async with self._server.database.unit_of_work() as db:
            # Parents wait for their children, so that holding these back could hold back everything; ends are quick.
            urgent = await db.all(_FREE_AND_URGENT, now=now)
            free = await db.all(_FREE, now=now, rows=min(room + 1, _LAUNCHES_MAX))
        self._more = len(free) > room or len(free) == _LAUNCHES_MAX
        for row in (*urgent, *free[:room]):
            self._begin((row[0], row[1], row[2]))

    async def _release(self, key: ExecutionKey | None = None) -> None:
        """Leave an execution, or all, to the next process at once."""
        try:
            await self._leases.release(key)
        except errors.FlyteError as error:
            # The leases run out by themselves.
            log.warning("leases_not_released", reason=error.message)


def _key(id: identifier_pb2.WorkflowExecutionIdentifier) -> ExecutionKey:
    return id.project, id.domain, id.name


def _has_ended(owner: str) -> bool:
    """Whether the owner was a process of this machine that has ended."""
    host, _, rest = owner.partition("/")
    pid, _, stamp = rest.partition("/")
    return host == socket.gethostname() and pid.isdigit() and started(int(pid)) != stamp
