"""What an engine relies on in every compiled workflow."""

from __future__ import annotations

from collections.abc import Iterator

from flyteidl.core import compiler_pb2, literals_pb2, workflow_pb2

from app.compiler import END, START


def check_compiled(core: compiler_pb2.CompiledWorkflow) -> None:
    """The graph is complete, connected and readable without guessing."""
    template = core.template
    ids = [node.id for node in template.nodes]
    assert ids[:2] == [START, END]
    assert len(set(ids)) == len(ids)
    upstream = {node: list(connections.ids) for node, connections in core.connections.upstream.items()}
    downstream = {node: list(connections.ids) for node, connections in core.connections.downstream.items()}
    for ordered in (*upstream.values(), *downstream.values()):
        assert ordered == sorted(set(ordered))
    assert START not in upstream
    assert END not in downstream
    main = {(a, b) for a, following in downstream.items() for b in following}
    assert {(a, b) for b, before in upstream.items() for a in before if b in ids} == main
    assert all(upstream.get(node) for node in ids if node != START)
    assert all(downstream.get(node) for node in ids if node != END)
    assert _order(ids, upstream), "every node can be reached, and there is no ring"
    assert template.nodes[1].inputs == template.outputs
    for name, binding in _bindings(template):
        for promise in _promises(binding.binding):
            assert promise.node_id in ids, "promises name nodes of the graph"
            assert promise.node_id in upstream[name], "whoever reads waits for what is read"


def _order(ids: list[str], upstream: dict[str, list[str]]) -> bool:
    """Whether running each node after all nodes that it waits for runs them all."""
    done: set[str] = set()
    while ready := {node for node in ids if node not in done and done.issuperset(upstream.get(node, []))}:
        done |= ready
    return len(done) == len(ids)


def inner_nodes(node: workflow_pb2.Node) -> Iterator[workflow_pb2.Node]:
    """The nodes inside branches, at any depth."""
    if node.WhichOneof("target") != "branch_node":
        return
    if_else = node.branch_node.if_else
    chosen = [if_else.case.then_node, *(block.then_node for block in if_else.other)]
    if if_else.WhichOneof("default") == "else_node":
        chosen.append(if_else.else_node)
    for inner in chosen:
        assert inner.id.startswith(f"{node.id}-")
        yield inner
        yield from inner_nodes(inner)


def _bindings(template: workflow_pb2.WorkflowTemplate) -> Iterator[tuple[str, literals_pb2.Binding]]:
    for node in template.nodes:
        for each in (node, *inner_nodes(node)):
            for binding in each.inputs:
                yield each.id, binding


def _promises(data: literals_pb2.BindingData) -> Iterator[literals_pb2.BindingData]:
    match data.WhichOneof("value"):
        case "promise":
            yield data.promise
        case "collection":
            for element in data.collection.bindings:
                yield from _promises(element)
        case "map":
            for element in data.map.bindings.values():
                yield from _promises(element)
