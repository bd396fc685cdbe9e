"""The local engine: take launched executions and run them in this process.

Every server process with `engine.kind: local` has one engine. Engines share the executions by leases: a launch record
belongs to the process that wrote its name into it, until the lease expires or that process has ended. Within a process
a launch starts the run at once; every few seconds the engine also looks for launch records without an owner.
Source: flytepropeller pkg/controller.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
from flyteidl.core import compiler_pb2, identifier_pb2
from sqlalchemy import bindparam, exists, or_, select

from app import errors
from app.database import schema
from app.database.base import UnitOfWork
from app.database.statements import Statement
from app.engine.closures import ClosureCache
from app.engine.local.connectors.runner import ConnectorRunner
from app.engine.local.connectors.status import status_of
from app.engine.local.execution import run_execution
from app.engine.local.graph.aborts import EAGER_LABEL
from app.engine.local.graph.failures import LeaseLost
from app.engine.local.host import AttemptRunner, ExecutionKey, Watch
from app.engine.local.processes import folders
from app.engine.local.processes.platform_address import platform_variables
from app.engine.local.processes.runner import TaskRunner
from app.engine.local.watch import ChangeWatch
from app.engine.owner import has_ended, owner_name
from app.runtime import debug_log, leases
from app.runtime.dispatch import Server
from app.services.execution_ids import EXECUTION_KEY, execution_columns, execution_key, same_execution

log = structlog.get_logger(__name__)

POLL_SECONDS = 5.0
# At most one query for free launch records in this time, however many executions start and end.
_PAUSE_SECONDS = 0.2
_LAUNCHES_MAX = 500

_launches, _executions = schema.table(schema.Launch), schema.table(schema.Execution)
_tags = schema.table(schema.ExecutionTag)
_KEY = execution_columns(_launches)
_IS_FREE = leases.is_free(_launches)
_FREE = Statement(select(*_KEY).where(_IS_FREE).order_by(_launches.c.id).limit(bindparam("rows")))
_IS_EAGER_CHILD = exists().where(same_execution(_launches, _tags), _tags.c.key == EAGER_LABEL)
_FREE_AND_URGENT = Statement(
    select(*_KEY)
    .select_from(_launches.join(_executions, same_execution(_launches, _executions)))
    .where(
        _IS_FREE,
        or_(_executions.c.parent_node_execution_id > 0, _executions.c.phase == "ABORTING", _IS_EAGER_CHILD),
    )
    .order_by(_launches.c.id)
    .limit(_LAUNCHES_MAX)
)


class LocalEngine:
    """Runs executions of this server process. Implements `app.engine.port.Engine`, a background service, and `Host`.

    Args:
        server: Holds settings, database and store.
        progress: Called with the lines of output while the environment of tasks is installed.
        runner: Starts the attempts of tasks; by default as processes.
    """

    name = "local_engine"

    def __init__(self, server: Server, *, progress: Any, runner: AttemptRunner | None = None) -> None:
        self._server = server
        settings = server.settings
        if runner is None:
            own = TaskRunner(settings, server.blobs, progress=progress, tokens=server.task_tokens)
            runner, environment = own, own.connector_environment
        else:
            environment = None
        self.runner: AttemptRunner = runner
        self.connectors = ConnectorRunner(server, environment)
        # Bounds the memory of this process; further executions wait in their launch records.
        self._executions_max = max(1, settings.engine.local.executions_max // settings.server.workers)
        self._closures = ClosureCache(server.blobs, bytes_max=settings.storage.limits.closure_bytes_max)
        self.platform: Mapping[str, str] = platform_variables(settings)
        self.console_url = settings.flyteadmin.console_url
        me = owner_name()
        self._leases = leases.Leases(server.database, schema.Launch, EXECUTION_KEY, owner=me, has_ended=has_ended)
        self._tasks: dict[ExecutionKey, asyncio.Task[None]] = {}
        # Executions with a lease of this process, and those of them that are being aborted.
        self._running: set[ExecutionKey] = set()
        self._homes: dict[ExecutionKey, Path] = {}
        self._aborting: set[ExecutionKey] = set()
        self._changes = ChangeWatch(server.database, me=me, runs=lambda: self._running, aborting=self._abort)
        self.watch: Watch = self._changes
        self._polling: asyncio.Task[None] | None = None
        # Whether free launch records are left that the limit on executions does not allow to start.
        self._more_waiting = False
        # Set to look for free launch records at once.
        self._wake = asyncio.Event()
        self._stopping = False
        # Why the leases are not renewed at present, "" while they are.
        self._failure = ""

    async def start(self) -> None:
        """Take over executions without an owner, now and every few seconds.

        Raises:
            RuntimeError: The engine has been stopped: its tasks and locks belong to an event loop that has ended.
        """
        if self._stopping:
            raise RuntimeError("the local engine starts once; make a new application with create_app")
        await self.runner.remove_abandoned_folders()
        await self.connectors.start()
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Stop at once. Processes of tasks continue, and the next server adopts them."""
        self._stopping = True
        self._running.clear()
        tasks = [*self._tasks.values(), *([self._polling] if self._polling is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._changes.close()
        await self.connectors.stop()
        await self.runner.close()
        await self._leases.release_if_possible()

    def health(self) -> str:
        """Return why the engine does not renew its leases, "" while it does."""
        return self._failure

    def metrics(self) -> Mapping[str, float]:
        """Return the number of executions that are held in memory, and those of tasks and calls of services."""
        return {"executions": len(self._tasks), **self.connectors.metrics()}

    def connector_status(self) -> dict[str, Any]:
        """Return the services that run tasks, as app/api/pages/connectors.py describes it."""
        return status_of(self.connectors)

    def launched(self, execution: identifier_pb2.WorkflowExecutionIdentifier, *, wait: bool = False) -> None:
        """Start to run an execution, unless another process takes it first or too many run already."""
        if len(self._tasks) < self._executions_max and not self._more_waiting:
            self._start_run(_key(execution))
        else:
            # Child executions start above the limit too: the query for free records finds out whether this is one.
            self._wake.set()

    def aborted(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Abort an execution that runs or waits here. The watch of another process finds its own."""
        self._abort(_key(execution))
        if self._more_waiting:
            self._wake.set()

    def signalled(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Notify the gates of an execution that a signal may have got a value."""
        self._changes.signalled(_key(execution))

    def is_running(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> bool:
        """Return whether this process holds the lease of an execution."""
        return _key(id) in self._running

    async def hold(self, unit: UnitOfWork, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """See `Host`."""
        if not await self._leases.hold(unit, _key(id)):
            raise LeaseLost(f"another process runs the execution {id.name}")

    def home_of(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> Path:
        """Return the home folder of an execution's attempts, or that of the server that started them."""
        return self._homes[_key(id)]

    async def closure_of(self, workflow: Any) -> compiler_pb2.CompiledWorkflowClosure:
        """Read the compiled workflow of a row through the cache."""
        return await self._closures.get(workflow)

    def log_url(self, id: identifier_pb2.WorkflowExecutionIdentifier, node: str, attempt: int) -> str:
        """Return the address at which a browser finds the output of an attempt."""
        settings = self._server.settings
        base = settings.own_url
        return "/".join(
            (base, "logs", *(quote(part, safe="") for part in (id.project, id.domain, id.name, node)), str(attempt))
        )

    def _start_run(self, key: ExecutionKey) -> None:
        if key not in self._tasks and not self._stopping:
            task = asyncio.create_task(self._run(key))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._run_ended(key))

    def _run_ended(self, key: ExecutionKey) -> None:
        self._tasks.pop(key, None)
        self._running.discard(key)
        self._aborting.discard(key)
        self._homes.pop(key, None)
        self._changes.ended(key)
        if self._more_waiting:
            self._wake.set()

    def _abort(self, key: ExecutionKey) -> None:
        """Cancel the coroutine of a running execution, so that it reads its row again and finds the phase ABORTING."""
        if key in self._running and key not in self._aborting:
            self._aborting.add(key)
            self._tasks[key].cancel()

    async def _run(self, key: ExecutionKey) -> None:
        debug_log.leave_call()
        id = identifier_pb2.WorkflowExecutionIdentifier(project=key[0], domain=key[1], name=key[2])
        try:
            home = await self._take(id)
            if home is None:
                debug_log.write(
                    log, "execution_not_started", execution=key[2], because="ended, or leased by another process"
                )
                return
            debug_log.write(log, "execution_started", execution=key[2], because="has a launch record and a free lease")
            self._running.add(key)
            self._homes[key] = home
            self._changes.poll()
            await run_execution(self, self._server, id)
            debug_log.write(log, "execution_ended", execution=key[2])
            self._running.discard(key)
            await self.connectors.forget(id)
            async with self._server.database.unit_of_work() as db:
                # Another process that has taken the lease meanwhile deletes it.
                if await db.delete(schema.Launch, owner=self._leases.owner, **execution_key(id)):
                    # Reservations of an execution without a launch record count no more.
                    await db.delete(schema.CatalogReservation, **execution_key(id))
        except LeaseLost:
            log.warning("execution_taken_over_by_another_process", project=key[0], domain=key[1], name=key[2])
        except errors.FlyteError as error:
            # The database does not answer. The launch record is kept, so the execution is run again.
            log.warning("execution_interrupted", execution=key[2], reason=error.message)
        except Exception:
            # The launch record is kept, so the execution is run again, by this process or another one.
            log.exception("execution_interrupted", project=key[0], domain=key[1], name=key[2])

    async def _take(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> Path | None:
        """Take the lease of an execution; return the home folder of its attempts, None when another process has it."""
        async with self._server.database.unit_of_work() as db:
            row = await db.find(schema.Launch, columns=("home",), **execution_key(id))
            if row is None:
                return None
            home = folders.home_of(row.home or "", id) or self._server.settings.home_path
            taken = await self._leases.take(db, _key(id), home=f"{socket.gethostname()}{home}")
        return home if taken else None

    async def _poll(self) -> None:
        """Renew the leases and start free executions, until the engine stops."""
        due = 0.0
        while True:
            try:
                if time.monotonic() >= due:
                    due = time.monotonic() + POLL_SECONDS
                    await self._renew_leases()
                    await self._leases.release_ended()
                    self._failure = ""
                self._wake.clear()
                await self._start_free()
            except errors.FlyteError as error:
                if not self._failure:
                    log.warning("engine_cannot_reach_database", reason=error.message)
                self._failure = error.message or type(error).__name__
            except Exception as error:
                # The loop must survive any exception: without it every lease expires.
                log.exception("executions_not_polled")
                self._failure = repr(error)
            await asyncio.sleep(_PAUSE_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, due - time.monotonic()))

    async def _renew_leases(self) -> None:
        """Renew the leases; stop running executions whose lease expired and was taken by another process."""
        running, began = set(self._running), set(self._tasks)
        if not running:
            return
        mine = await self._leases.renew()
        for key in running - mine:
            if key in self._running:
                log.warning("execution_taken_over_by_another_process", project=key[0], domain=key[1], name=key[2])
                self._running.discard(key)
                self._tasks[key].cancel()
        # An execution whose run ended with an exception still has its lease: release it to be run again.
        for key in mine - began - set(self._tasks):
            await self._leases.release_if_possible(key)

    async def _start_free(self) -> None:
        """Start executions without an owner, as many as the limit allows."""
        room = max(0, self._executions_max - len(self._tasks))
        async with self._server.database.unit_of_work() as db:
            # Children and aborts start above the limit: parents wait for their children, and aborts take no time.
            urgent = await db.all(_FREE_AND_URGENT)
            free = await db.all(_FREE, rows=min(room + 1, _LAUNCHES_MAX))
        self._more_waiting = len(free) > room or len(free) == _LAUNCHES_MAX
        for row in (*urgent, *free[:room]):
            self._start_run((row[0], row[1], row[2]))


def _key(id: identifier_pb2.WorkflowExecutionIdentifier) -> ExecutionKey:
    return id.project, id.domain, id.name
