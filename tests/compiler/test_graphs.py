"""Whatever graph is compiled, an engine can run it, and compiling has no other effects."""

from __future__ import annotations

import random

import pytest
from flyteidl.core import workflow_pb2
from hypothesis import given
from hypothesis import strategies as st

from app.compiler import END, START, requirements
from tests.compiler.invariants import check_compiled
from tests.compiler.shapes import a_node, a_workflow, compiled, task_id, workflow_id

pytestmark = pytest.mark.heavy

# A node: the earlier nodes that its two numbers come from (or none: a constant, or the input of the workflow).
SOURCES = st.integers(min_value=-2, max_value=30)
NODES = st.lists(st.tuples(SOURCES, SOURCES, st.sampled_from(["add", "branch", "sub", "noop", "later"])), min_size=1)


def source(number: int, index: int, ids: list[str]) -> object:
    if number == -1 or (index == 0 and number >= 0):
        return ".a"
    return 7 if number == -2 else f"{ids[number % index]}.o"


def drawn(nodes: list[tuple[int, int, str]]) -> tuple[workflow_pb2.WorkflowTemplate, list[str]]:
    """The workflow, and the ids of its nodes that have an output; `noop` has none and is read by nobody."""
    made: list[workflow_pb2.Node] = []
    readable: list[str] = []
    for number, (left, right, kind) in enumerate(nodes):
        node_id, index = f"n{number}", len(readable)
        a, b = source(left, index, readable), source(right, index, readable)
        if kind == "noop":
            made.append(a_node(node_id, "noop", after=tuple(readable[-1:])))
            continue
        if kind == "sub":
            made.append(a_node(node_id, x=a))
            made[-1].workflow_node.sub_workflow_ref.CopyFrom(workflow_id("sub"))
        elif kind == "branch":
            made.append(a_node(node_id, v=a))
            block = made[-1].branch_node.if_else
            comparison = block.case.condition.comparison
            comparison.left_value.var = "v"
            comparison.right_value.primitive.integer = 1
            block.case.then_node.MergeFrom(a_node("t", "add", a=a, b=b))
            block.else_node.MergeFrom(a_node("e", "inc", x=b))
        else:
            made.append(a_node(node_id, "add", a=a, b=b))
        readable.append(node_id)
    # Tasks may read from nodes that are listed after them, so those at the end may change places.
    tail = len(made)
    while tail and made[tail - 1].WhichOneof("target") == "task_node":
        tail -= 1
    made[tail:] = reversed(made[tail:])
    outputs = {"r": ("int", f"{readable[-1]}.o")} if readable else None
    return a_workflow(*made, inputs={"a": "int"}, outputs=outputs), readable


INNER = a_workflow(
    a_node("n0", "inc", x=".x"),
    a_node("n1", "inc", x="n0.o"),
    name="sub",
    inputs={"x": "int"},
    outputs={"o": ("int", "n1.o")},
)


@given(NODES)
def test_generated_workflows(nodes: list[tuple[int, int, str]]) -> None:
    template, _ = drawn(nodes)
    before = template.SerializeToString(deterministic=True)
    closure = compiled(template, INNER)
    assert template.SerializeToString(deterministic=True) == before
    check_compiled(closure.primary)
    assert len(closure.primary.template.nodes) == len(nodes) + 2
    assert [node.id for node in closure.primary.template.nodes[2:]] == [node.id for node in template.nodes]
    if any(kind == "sub" for _, _, kind in nodes):
        check_compiled(closure.sub_workflows[0])
    else:
        assert closure.sub_workflows[0].template == INNER
        assert not closure.sub_workflows[0].HasField("connections")
    assert compiled(template, INNER) == closure
    if all(kind != "branch" for _, _, kind in nodes):
        # Branches get their prefix again each time they are compiled.
        again = compiled(closure.primary.template, closure.sub_workflows[0].template)
        assert again.primary == closure.primary


@given(NODES, st.randoms(use_true_random=False))
def test_the_order_of_nodes_changes_no_edge(nodes: list[tuple[int, int, str]], order: random.Random) -> None:
    nodes = [(left, right, "add" if kind == "branch" else kind) for left, right, kind in nodes]
    template, _ = drawn(nodes)
    shuffled = list(template.nodes)
    order.shuffle(shuffled)
    other = workflow_pb2.WorkflowTemplate()
    other.CopyFrom(template)
    del other.nodes[:]
    other.nodes.extend(shuffled)
    assert compiled(other, INNER).primary.connections == compiled(template, INNER).primary.connections


def test_requirements_reach_everything_once() -> None:
    used = a_workflow(a_node("n0", "used"), name="sub")
    unused = a_workflow(a_node("n0", "unused"), name="other")
    template = a_workflow(a_node("n0", "b"), a_node("n1", "a"), a_node("n2", "b"))
    inside = template.nodes.add(id="br").branch_node.if_else
    inside.case.then_node.CopyFrom(a_node("t", "case"))
    inside.other.add().then_node.CopyFrom(a_node("t", "other"))
    inside.else_node.CopyFrom(a_node("e", "else"))
    template.nodes.add(id="ar").array_node.node.CopyFrom(a_node("", "element"))
    template.nodes.add(id="s").workflow_node.sub_workflow_ref.CopyFrom(workflow_id("sub"))
    template.nodes.add(id="g").workflow_node.sub_workflow_ref.CopyFrom(workflow_id("missing"))
    template.failure_node.CopyFrom(a_node("fn", "failure"))
    needed = requirements(template, [used, unused])
    names = ["a", "b", "case", "element", "else", "failure", "other", "used"]
    assert list(needed.task_ids) == [task_id(name) for name in names]
    assert needed.launch_plan_ids == ()


def test_a_sub_workflow_of_two_workflows_is_compiled_for_each() -> None:
    """Upstream does so, in place, and the digests of what is stored depend on it."""
    leaf = a_workflow(a_node("b", v=1), name="leaf")
    block = leaf.nodes[0].branch_node.if_else
    comparison = block.case.condition.comparison
    comparison.left_value.var = "v"
    comparison.right_value.primitive.integer = 1
    block.case.then_node.CopyFrom(a_node("t", "noop"))
    block.error.message = "no"
    uses = workflow_pb2.Node(id="s")
    uses.workflow_node.sub_workflow_ref.CopyFrom(workflow_id("leaf"))
    middle = a_workflow(uses, name="middle")
    twice = workflow_pb2.Node(id="s2")
    twice.CopyFrom(uses)
    twice.id = "s2"
    via = workflow_pb2.Node(id="m")
    via.workflow_node.sub_workflow_ref.CopyFrom(workflow_id("middle"))

    def inner_id(*nodes: workflow_pb2.Node) -> str:
        closure = compiled(a_workflow(*nodes), leaf, middle)
        return str(closure.sub_workflows[0].template.nodes[2].branch_node.if_else.case.then_node.id)

    assert inner_id(uses) == "b-t"
    assert inner_id(uses, twice) == "b-t"
    assert inner_id(via) == "b-t"
    assert inner_id(uses, via) == "b-b-t"


def test_nodes_of_a_known_id_are_left_out() -> None:
    closure = compiled(a_workflow(a_node("n0", "noop"), a_node("n0", "inc"), a_node(START, "inc"), a_node(END, "inc")))
    assert [node.id for node in closure.primary.template.nodes] == [START, END, "n0"]
    assert closure.primary.template.nodes[2].task_node.reference_id == task_id("noop")
