"""Reservations of cached outputs, as a node takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from flyteidl.admin import matchable_resource_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2, tasks_pb2, types_pb2, workflow_pb2

from app.database import schema
from app.engine.local.graph.events import EventSender
from app.engine.local.graph.literal_store import LiteralStore
from app.engine.local.graph.state import ExecutionState, GraphScope, Handlers, NodeContext
from app.engine.local.nodes.output_cache import OutputCache
from app.runtime.dispatch import Server
from app.runtime.fair_semaphore import FairSemaphore, Permit
from app.services.execution_ids import execution_key
from tests.engine.fake_host import FakeHost
from tests.services.test_events import launch, run_id


def a_context(desk: Any) -> NodeContext:
    """A node of the execution that `launch` makes."""
    server = Server(settings=desk.settings, database=desk.database, blobs=desk.blobs, engine=desk.engine)
    execution = ExecutionState(
        host=None,  # type: ignore[arg-type]
        handlers=Handlers({}, {}),
        server=server,
        id=run_id(),
        config=matchable_resource_pb2.WorkflowExecutionConfig(),
        principal="",
        workflow_id=identifier_pb2.Identifier(),
        closure=compiler_pb2.CompiledWorkflowClosure(),
        inputs=literals_pb2.LiteralMap(),
        root="",
        raw_prefix="",
        home=Path(),
        events=EventSender(server, run_id(), cast(Any, FakeHost())),
        literals=LiteralStore(server),
        envs={},
        parallelism=FairSemaphore(1),
    )
    scope = GraphScope(
        execution=execution, closure=execution.closure, workflow=compiler_pb2.CompiledWorkflow(), directory="/x"
    )
    return scope.context(workflow_pb2.Node(id="n0"))


def a_serialized_task() -> tasks_pb2.TaskTemplate:
    task = tasks_pb2.TaskTemplate(id=identifier_pb2.Identifier(project="p", domain="development", name="t"))
    task.metadata.discoverable = task.metadata.cache_serializable = True
    task.metadata.discovery_version = "1"
    task.interface.outputs.variables["o0"].type.simple = types_pb2.SimpleType.INTEGER
    return task


def test_a_node_with_a_reservation_has_a_row(bench: Callable[..., Any]) -> None:
    """A node without a row could not be ended, and its reservation would block the next attempt of its parent."""

    async def scenario(desk: Any) -> None:
        await launch(desk)
        caching = OutputCache(a_context(desk), a_serialized_task(), literals_pb2.LiteralMap())
        assert await caching.begin(Permit(None)) is None
        async with desk.context() as ctx:
            held = await ctx.db.find_all(schema.CatalogReservation, **execution_key(run_id()))
            nodes = await ctx.db.find_all(schema.NodeExecution, **execution_key(run_id()))
        assert [row.node_id for row in held] == ["n0"]
        assert [(row.node_id, row.phase) for row in nodes] == [("n0", "QUEUED")]

    bench(scenario)
