"""A control plane in this process: the service functions on a database, and a local engine over a fake runner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from flyteidl.admin import execution_pb2, launch_plan_pb2, signal_pb2, task_pb2, workflow_pb2
from flyteidl.admin import task_execution_pb2 as admin_task_execution_pb2
from flyteidl.core import identifier_pb2, literals_pb2

from app.blobs import Blobs
from app.database import schema
from app.database.connect import database_at
from app.engine.local.engine import LocalEngine
from app.engine.port import NoEngine
from app.runtime.dispatch import Server, perform
from app.services import executions, launch_plans, projects, signals, tasks, workflows
from app.services.execution_ids import execution_key
from app.settings import Settings
from tests.engine.conftest import literal, literal_map
from tests.engine.fake_runner import FakeRunner, plain
from tests.support.builders import a_project, an_id

ENDS = ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT")
WAIT_SECONDS_MAX = 30.0

Functions = dict[str, Callable[..., Any]]
RunPlane = Callable[..., Any]
Registered = task_pb2.TaskCreateRequest | workflow_pb2.WorkflowCreateRequest | launch_plan_pb2.LaunchPlanCreateRequest
_REGISTER: dict[type, Any] = {
    task_pb2.TaskCreateRequest: tasks.create_task,
    workflow_pb2.WorkflowCreateRequest: workflows.create_workflow,
    launch_plan_pb2.LaunchPlanCreateRequest: launch_plans.create_launch_plan,
}


class Plane:
    """Registers, launches and observes. `functions` are the tasks, by name."""

    def __init__(self, url: str, home: Path, functions: Functions, **settings: Any) -> None:
        self.settings = Settings.model_validate({"home": home, "storage": {"url": str(home / "store")}, **settings})
        database = database_at(url, connections_max=20, busy_timeout_seconds=20, statement_timeout_seconds=30)
        self.server = Server(settings=self.settings, database=database, blobs=Blobs(self.settings), engine=NoEngine())
        self.runner = FakeRunner(self.server.blobs, functions)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Plane]:
        """Open the database and run an engine."""
        await self.server.database.open()
        try:
            await self.call(projects.register_project, a_project())
            await self.start()
            yield self
        finally:
            await self.server.engine.stop()
            await self.server.database.close()

    async def start(self) -> None:
        engine = LocalEngine(self.server, progress=print, runner=self.runner)
        self.server.engine, self.engine, self.connectors = engine, engine, engine.connectors
        await engine.start()

    async def restart(self) -> None:
        """Stop the engine, as a server that ends, and start another one. The attempts of tasks run on."""
        await self.server.engine.stop()
        await self.start()

    async def call(self, function: Any, request: Any) -> Any:
        return await perform(self.server, function, request)

    async def register(self, *requests: Registered) -> None:
        for request in requests:
            await self.call(_REGISTER[type(request)], request)

    async def launch(
        self, plan: str, name: str = "e1", *, spec: dict[str, Any] | None = None, **inputs: Any
    ) -> identifier_pb2.WorkflowExecutionIdentifier:
        """Launch the launch plan of this name."""
        request = execution_pb2.ExecutionCreateRequest(
            project="p", domain="development", name=name, inputs=literal_map(inputs)
        )
        request.spec.launch_plan.CopyFrom(an_id(identifier_pb2.LAUNCH_PLAN, plan))
        for field, value in (spec or {}).items():
            setattr(request.spec, field, value)
        await self.call(executions.create_execution, request)
        return execution_id(name)

    async def recover(self, old: str, name: str) -> identifier_pb2.WorkflowExecutionIdentifier:
        request = execution_pb2.ExecutionRecoverRequest(id=execution_id(old), name=name)
        await self.call(executions.recover_execution, request)
        return execution_id(name)

    async def terminate(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        await self.call(executions.terminate_execution, execution_pb2.ExecutionTerminateRequest(id=id, cause="enough"))

    async def set_signal(self, id: identifier_pb2.WorkflowExecutionIdentifier, signal_id: str, value: Any) -> None:
        """Set a signal once its gate has asked for it."""
        signal = identifier_pb2.SignalIdentifier(signal_id=signal_id, execution_id=id)
        await self.until(lambda: self._find(schema.Signal, **execution_key(id), signal_id=signal_id))
        await self.call(signals.set_signal, signal_pb2.SignalSetRequest(id=signal, value=literal(value)))

    async def _find(self, table: Any, **key: Any) -> Any:
        async with self.server.database.unit_of_work() as db:
            return await db.find(table, **key)

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until a condition, perhaps a coroutine's, holds; return it."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while True:
                held = holds()
                held = await held if asyncio.iscoroutine(held) else held
                if held:
                    return held
                await asyncio.sleep(0.002)

    async def ended(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> execution_pb2.ExecutionClosure:
        """Wait for the end of an execution; its closure."""

        async def row() -> Any:
            found = await self._find(schema.Execution, **execution_key(id))
            return found if found is not None and found.phase in ENDS else None

        found = await self.until(row)
        # The launch record is deleted behind the last event.
        await self.until(lambda: self._launch_is_gone(id))
        return execution_pb2.ExecutionClosure.FromString(found.closure)

    async def _launch_is_gone(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> bool:
        return await self._find(schema.Launch, **execution_key(id)) is None

    async def executions(self) -> int:
        """How many executions there are, child executions included."""
        async with self.server.database.unit_of_work() as db:
            return len(await db.find_all(schema.Execution))

    async def phase_now(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> str:
        return str((await self._find(schema.Execution, **execution_key(id))).phase)

    async def all_have_ended(self) -> bool:
        """Whether no execution, a child's included, is left to be run."""
        async with self.server.database.unit_of_work() as db:
            return not await db.find_all(schema.Launch)

    async def phase(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> str:
        await self.ended(id)
        return await self.phase_now(id)

    async def error(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> tuple[str, str]:
        """Code and message of the error that an execution ended with."""
        closure = await self.ended(id)
        return closure.error.code, closure.error.message

    async def outputs(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> dict[str, Any]:
        """The plain outputs of an execution, which has to succeed."""
        closure = await self.ended(id)
        assert closure.WhichOneof("output_result") == "outputs", closure
        raw = await self.server.blobs.read(closure.outputs.uri, bytes_max=0)
        values = literals_pb2.LiteralMap.FromString(raw)
        return {name: plain(value) for name, value in values.literals.items()}

    async def nodes(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> dict[str, str]:
        """The phases of all nodes, by unique node id."""
        async with self.server.database.unit_of_work() as db:
            rows = await db.find_all(schema.NodeExecution, **execution_key(id))
        return {row.node_id: row.phase for row in rows}

    async def attempts(self, id: identifier_pb2.WorkflowExecutionIdentifier, node: str) -> list[tuple[str, str]]:
        """Phase and error code of each attempt of a node."""
        closures = await self.attempt_closures(id, node)
        names = type(closures[0]).DESCRIPTOR.fields_by_name["phase"].enum_type.values_by_number if closures else {}
        return [(names[one.phase].name, one.error.code) for one in closures]

    async def attempt_closures(
        self, id: identifier_pb2.WorkflowExecutionIdentifier, node: str
    ) -> list[admin_task_execution_pb2.TaskExecutionClosure]:
        """The closures of the attempts of a node, in order."""
        async with self.server.database.unit_of_work() as db:
            rows = await db.find_all(schema.TaskExecution, **execution_key(id), node_id=node)
        return [
            admin_task_execution_pb2.TaskExecutionClosure.FromString(row.closure)
            for row in sorted(rows, key=lambda row: row.retry_attempt)
        ]

    async def open_rows(self) -> dict[str, str]:
        """What is left unfinished: nodes and attempts of all executions that have no end."""
        async with self.server.database.unit_of_work() as db:
            rows = [
                *await db.find_all(schema.NodeExecution, columns=("execution_name", "node_id", "phase")),
                *await db.find_all(schema.TaskExecution, columns=("execution_name", "node_id", "phase")),
                *await db.find_all(schema.Execution, columns=("execution_name", "phase")),
            ]
        return {str(row): row.phase for row in rows if row.phase not in (*ENDS, "SKIPPED", "RECOVERED")}

    async def check_all_ended(self, step: int | None = None) -> None:
        """Wait until all executions have ended; fail if rows are open or a task runs. step: shown in the failure."""
        await self.until(self.all_have_ended)
        assert await self.open_rows() == {}, step
        assert not self.runner.alive, step


def execution_id(name: str) -> identifier_pb2.WorkflowExecutionIdentifier:
    return identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="development", name=name)
