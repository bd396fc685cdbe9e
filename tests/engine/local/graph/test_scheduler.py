"""Graphs over a fake host: events and literals stay in memory, so that a thousand nodes take milliseconds."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flyteidl.admin import matchable_resource_pb2
from flyteidl.core import compiler_pb2, execution_pb2, identifier_pb2, literals_pb2, workflow_pb2
from hypothesis import given
from hypothesis import strategies as st

from app.engine.local.execution_error import error_of
from app.engine.local.graph.ends import fail, succeed
from app.engine.local.graph.events import Event, EventSender
from app.engine.local.graph.failures import NodeFailed
from app.engine.local.graph.literal_store import LiteralStore
from app.engine.local.graph.scheduler import GraphScheduler
from app.engine.local.graph.state import ExecutionState, GraphScope, Handlers, NodeContext
from app.engine.local.nodes.node_run import run_node
from app.runtime.fair_semaphore import FairSemaphore, Permit
from app.settings import Settings
from tests.engine.conftest import literal_map
from tests.engine.fake_host import FakeHost

pytestmark = pytest.mark.heavy

Node = execution_pb2.NodeExecution
Order = dict[str, list[str]]


class MemoryEvents(EventSender):
    """Keeps the events that it is given."""

    def __init__(self, server: Any) -> None:
        super().__init__(server, identifier_pb2.WorkflowExecutionIdentifier(name="e1"), cast(Any, FakeHost()))
        self.phases: dict[str, str] = {}

    async def send(self, *events: Event) -> None:
        await asyncio.sleep(0)
        for event in events:
            if not hasattr(event, "execution_id"):
                self.phases[cast(Any, event).id.node_id] = Node.Phase.Name(cast(Any, event).phase)


class MemoryLiterals(LiteralStore):
    """Keeps the literals that it is given."""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.written: dict[str, literals_pb2.LiteralMap] = {}

    async def read(self, uri: str) -> literals_pb2.LiteralMap:
        return self.written[uri]

    async def write(self, uri: str, values: literals_pb2.LiteralMap, *, durable: bool = True) -> None:
        self.written[uri] = values


class Memory:
    """An execution of a graph whose nodes pass on how many nodes lie on the longest way to them."""

    def __init__(
        self, upstream: Order, failing: frozenset[str] = frozenset(), *, parallelism: int = 0, lenient: bool = False
    ) -> None:
        self.order: list[str] = []
        self.most = self.running = 0
        self.failing = failing
        settings = Settings(home=Path("/nowhere"))
        server: Any = SimpleNamespace(settings=settings, blobs=SimpleNamespace())
        self.events, closure = MemoryEvents(server), compiler_pb2.CompiledWorkflowClosure()
        template = closure.primary.template
        if lenient:
            template.metadata.on_failure = template.metadata.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE
        template.nodes.add(id="start-node")
        for id, before in upstream.items():
            node = template.nodes.add(id=id)
            node.task_node.SetInParent()
            closure.primary.connections.upstream[id].ids.extend(before or ["start-node"])
            for number, one in enumerate(before):
                promise = node.inputs.add(var=f"x{number}").binding.promise
                promise.node_id, promise.var = one, "depth"
        template.nodes.add(id="end-node")
        self.execution = ExecutionState(
            host=cast(Any, None),
            handlers=Handlers({"task_node": self._run}, {}),
            server=server,
            id=identifier_pb2.WorkflowExecutionIdentifier(name="e1"),
            config=matchable_resource_pb2.WorkflowExecutionConfig(),
            principal="",
            workflow_id=identifier_pb2.Identifier(),
            closure=closure,
            inputs=literals_pb2.LiteralMap(),
            root="",
            raw_prefix="",
            home=Path(),
            events=self.events,
            literals=MemoryLiterals(server),
            envs={},
            parallelism=FairSemaphore(parallelism),
        )

    async def _run(
        self, context: NodeContext, inputs: literals_pb2.LiteralMap, permit: Permit
    ) -> literals_pb2.LiteralMap:
        self.running += 1
        self.most = max(self.most, self.running)
        self.order.append(context.node.id)
        await asyncio.sleep(0)
        self.running -= 1
        if context.node.id in self.failing:
            raise await fail(context, error_of("USER:Error", context.node.id))
        depth = max((one.scalar.primitive.integer for one in inputs.literals.values()), default=0)
        return await succeed(context, literal_map({"depth": depth + 1}))

    def run(self) -> dict[str, literals_pb2.LiteralMap]:
        closure = self.execution.closure
        scope = GraphScope(execution=self.execution, closure=closure, workflow=closure.primary, directory="")
        asyncio.run(self._graph(scope))
        return scope.outputs

    async def _graph(self, scope: GraphScope) -> None:
        await GraphScheduler(scope, run_node).run(literals_pb2.LiteralMap())


def numbered(count: int, edges: int, seed: int) -> Order:
    """A graph in which every node waits for some of those before it."""
    drawn = random.Random(seed)
    return {
        f"n{number}": [f"n{one}" for one in sorted(drawn.sample(range(number), min(edges, number)))]
        for number in range(count)
    }


@pytest.mark.parametrize("edges", [0, 1, 3])
def test_a_thousand_nodes_run_each_once_and_in_order(edges: int) -> None:
    upstream = numbered(1000, edges, seed=edges)
    memory = Memory(upstream)
    began = time.process_time()
    outputs = memory.run()
    assert time.process_time() - began < 5
    assert sorted(memory.order) == sorted(upstream)
    place = {id: number for number, id in enumerate(memory.order)}
    assert all(place[one] < place[id] for id, before in upstream.items() for one in before)
    depths: dict[str, int] = {}
    for id, before in upstream.items():
        depths[id] = 1 + max((depths[one] for one in before), default=0)
        assert outputs[id].literals["depth"].scalar.primitive.integer == depths[id]
    assert set(memory.events.phases.values()) == {"SUCCEEDED"}


def test_no_more_nodes_run_than_the_execution_allows() -> None:
    memory = Memory(numbered(200, 0, seed=1), parallelism=7)
    memory.run()
    assert memory.most == 7


@given(seed=st.integers(0, 1000), count=st.integers(1, 40), edges=st.integers(0, 3), data=st.data())
def test_a_lenient_graph_skips_exactly_what_depends_on_a_failure(
    seed: int, count: int, edges: int, data: st.DataObject
) -> None:
    upstream = numbered(count, edges, seed)
    failing = data.draw(st.sets(st.sampled_from(sorted(upstream)), max_size=3))
    memory = Memory(upstream, frozenset(failing), lenient=True)
    try:
        memory.run()
        failed = False
    except NodeFailed as error:
        failed = error.node_id in failing
    lost: set[str] = set()
    expected = {"start-node": "SUCCEEDED"}
    for id, before in upstream.items():
        expected[id] = "SKIPPED" if lost & set(before) else "FAILED" if id in failing else "SUCCEEDED"
        lost |= {id} if expected[id] != "SUCCEEDED" else set()
    expected["end-node"] = "SKIPPED" if lost else "SUCCEEDED"
    assert memory.events.phases == expected
    assert failed == bool(failing)


def test_a_node_of_an_unknown_kind_fails() -> None:
    memory = Memory({"n0": []}, lenient=True)
    memory.execution.closure.primary.template.nodes[1].CopyFrom(workflow_pb2.Node(id="n0"))
    with pytest.raises(NodeFailed, match="which this engine does not run"):
        memory.run()
