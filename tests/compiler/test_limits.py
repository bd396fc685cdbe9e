"""Large, deep and hostile workflows end in time, with a closure or with an error that says why not."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest
from flyteidl.core import types_pb2, workflow_pb2

from app.compiler import CompileErrors, compile_task, compile_workflow, requirements
from app.errors import MESSAGE_BYTES_MAX
from app.wire.go.digest import digest
from tests.compiler.invariants import check_compiled
from tests.compiler.shapes import TASKS, a_node, a_task, a_workflow, bound, compiled, workflow_id

pytestmark = pytest.mark.heavy

# Linear work takes 10 to 15 times the CPU time for ten times the nodes: 10,000 do not fit the processor's cache.
GROWTH_MAX = 20
TRIES = 4


def ladder(length: int) -> workflow_pb2.WorkflowTemplate:
    """Each node reads the one before it and one half way back."""
    nodes = [a_node("n0", "add", a=".a", b=1)]
    nodes += [a_node(f"n{i}", "add", a=f"n{i - 1}.o", b=f"n{i // 2}.o") for i in range(1, length)]
    return a_workflow(*nodes, inputs={"a": "int"}, outputs={"r": ("int", f"n{length - 1}.o")})


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def growth(work: Callable[[workflow_pb2.WorkflowTemplate], object]) -> float:
    """How many times the CPU time of 1,000 nodes 10,000 take, by the least of several tries of either in turn."""
    small, large = ladder(1_000), ladder(10_000)
    # The collector visits whatever other tests left behind.
    gc.collect()
    gc.disable()
    try:
        tries = [(seconds(lambda: work(small)), seconds(lambda: work(large))) for _ in range(TRIES)]
    finally:
        gc.enable()
    return min(large for _, large in tries) / min(small for small, _ in tries)


@pytest.mark.slow
def test_ten_thousand_nodes() -> None:
    """Ten times the nodes take about ten times the time; a quadratic step would take a hundred times."""
    compiled(ladder(10))
    assert growth(compiled) < GROWTH_MAX
    closures = {nodes: compiled(ladder(nodes)) for nodes in (1_000, 10_000)}
    assert len(closures[10_000].primary.connections.downstream) == 10_001
    assert growth(lambda template: digest(closures[len(template.nodes)])) < GROWTH_MAX


def test_a_thousand_nodes_are_right() -> None:
    check_compiled(compiled(ladder(1_000)).primary)


@pytest.mark.slow
def test_ten_thousand_problems() -> None:
    nodes = [a_node(f"n{i}", "inc", x="word") for i in range(10_000)]
    with pytest.raises(CompileErrors) as error:
        compiled(a_workflow(*nodes))
    assert str(error.value).startswith("Collected Errors: 10000\n\tError 0: Code: MismatchingTypes, Node Id: n0, ")


@pytest.mark.slow
def test_problems_with_large_types_stay_short() -> None:
    columns = "".join(f"columns {{ name: 'column_{i}' }}" for i in range(20_000))
    tasks = [*TASKS, a_task("wide", {"t": f"schema {{ {columns} }}"}, {})]
    nodes = [a_node(f"n{i}", "wide", t=1) for i in range(300)]
    with pytest.raises(CompileErrors) as error:
        compile_workflow(a_workflow(*nodes), [], tasks, [])
    assert all(len(problem.description) <= MESSAGE_BYTES_MAX for problem in error.value.problems)


def chain(length: int) -> list[workflow_pb2.WorkflowTemplate]:
    """Sub-workflows, each of which contains the next twice."""
    made = [a_workflow(a_node("n0", "noop"), name=f"s{length}")]
    for level in reversed(range(length)):
        nodes = []
        for name in ("a", "b"):
            node = workflow_pb2.Node(id=name)
            node.workflow_node.sub_workflow_ref.CopyFrom(workflow_id(f"s{level + 1}"))
            nodes.append(node)
        made.append(a_workflow(*nodes, name=f"s{level}"))
    return made


def using(name: str) -> workflow_pb2.WorkflowTemplate:
    node = workflow_pb2.Node(id="s")
    node.workflow_node.sub_workflow_ref.CopyFrom(workflow_id(name))
    return a_workflow(node)


def test_sub_workflows_in_each_other() -> None:
    closure = compiled(using("s0"), *chain(50))
    assert all(sub_workflow.HasField("connections") for sub_workflow in closure.sub_workflows)


def test_too_many_sub_workflows_in_each_other() -> None:
    with pytest.raises(CompileErrors, match="Nodes are nested deeper than 64 levels"):
        compiled(using("s0"), *chain(5_000))


@pytest.mark.slow
def test_a_long_ring_of_sub_workflows() -> None:
    ring = chain(5_000)
    ring[0].nodes[0].workflow_node.sub_workflow_ref.CopyFrom(workflow_id("s0"))
    with pytest.raises(CompileErrors, match="CycleDetected"):
        requirements(using("s0"), ring)
    with pytest.raises(CompileErrors, match="CycleDetected"):
        compiled(using("s0"), *ring)


@pytest.mark.slow
def test_sub_workflows_that_would_be_compiled_without_end() -> None:
    """Each level is used by two workflows of the level above, so level n is compiled 2ⁿ times."""
    levels = 40
    subs = [a_workflow(a_node("n0", "noop"), name=f"{side}{levels}") for side in "ab"]
    for level in range(levels):
        for side in "ab":
            nodes = []
            for below in "ab":
                node = workflow_pb2.Node(id=below)
                node.workflow_node.sub_workflow_ref.CopyFrom(workflow_id(f"{below}{level + 1}"))
                nodes.append(node)
            subs.append(a_workflow(*nodes, name=f"{side}{level}"))
    with pytest.raises(CompileErrors, match="The workflow takes more than 500000 steps to compile"):
        compiled(using("a0"), *subs)


def test_bindings_in_each_other() -> None:
    data: object = 1
    for _ in range(40):
        data = [data]
    with pytest.raises(CompileErrors, match="MismatchingBindings"):
        compiled(a_workflow(a_node("n0", "total", xs=data)))


@pytest.mark.slow
def test_a_binding_with_a_hundred_thousand_elements() -> None:
    node = a_node("n0", "total")
    data = node.inputs.add(var="xs").binding.collection
    data.bindings.extend([bound(1)] * 100_000)
    check_compiled(compiled(a_workflow(node)).primary)


def branches(levels: int) -> workflow_pb2.WorkflowTemplate:
    outer = inner = workflow_pb2.Node(id="b")
    for _ in range(levels):
        block = inner.branch_node.if_else
        comparison = block.case.condition.comparison
        comparison.left_value.primitive.integer = comparison.right_value.primitive.integer = 1
        block.error.message = "no"
        inner = block.case.then_node
        inner.id = "b"
    inner.CopyFrom(a_node("t", "noop"))
    return a_workflow(outer)


def test_branches_in_each_other() -> None:
    check_compiled(compiled(branches(20)).primary)


def test_what_clients_could_not_read_back() -> None:
    """23 branches still fit into the message of a request, and no more into that of a list of workflows."""
    template = branches(23)
    workflow_pb2.WorkflowTemplate.FromString(template.SerializeToString())
    with pytest.raises(CompileErrors, match="nested too deep to be read back"):
        compiled(template)


def test_a_task_that_clients_could_not_read_back() -> None:
    task = a_task("deep", {"x": "int"}, {}).template
    kind: types_pb2.LiteralType = task.interface.inputs.variables["x"].type
    for _ in range(92):
        kind = kind.collection_type
    kind.simple = types_pb2.INTEGER
    with pytest.raises(CompileErrors, match="Node Id: root, Description: The messages are nested too deep"):
        compile_task(task)
