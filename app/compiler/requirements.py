"""The tasks and launch plans that the nodes of a workflow refer to, which are loaded before it is compiled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flyteidl.core import identifier_pb2, workflow_pb2

from app.compiler.compile_errors import CompileErrors, Problems
from app.compiler.workflow_graph import START, key
from app.wire.text import text


class Requirements(NamedTuple):
    """Identifiers, each once, sorted by resource type, project, domain, name and version."""

    task_ids: tuple[identifier_pb2.Identifier, ...]
    launch_plan_ids: tuple[identifier_pb2.Identifier, ...]


class _References(NamedTuple):
    tasks: dict[bytes, identifier_pb2.Identifier]
    launch_plans: dict[bytes, identifier_pb2.Identifier]
    # The sub-workflows in the order of the nodes, each after the id of its node.
    sub_workflows: list[tuple[str, identifier_pb2.Identifier]]


def requirements(
    template: workflow_pb2.WorkflowTemplate, subworkflows: Sequence[workflow_pb2.WorkflowTemplate]
) -> Requirements:
    """Return the references of a workflow and of the sub-workflows that it uses.

    Raises:
        CompileErrors: A sub-workflow has no id, the id of another one, or contains itself. A missing sub-workflow is
            no error here.

    Source: compiler.GetRequirements.
    """
    # Other problems are reported when the workflow is compiled.
    return collect(template, subworkflows, Problems())


def collect(
    template: workflow_pb2.WorkflowTemplate,
    subworkflows: Sequence[workflow_pb2.WorkflowTemplate],
    problems: Problems,
) -> Requirements:
    """Return the same as `requirements`, and report missing sub-workflows."""
    index = _index(subworkflows)
    primary = references_of(template)
    tasks, launch_plans = dict(primary.tasks), dict(primary.launch_plans)
    # The sub-workflows on the current path, from the outermost to the innermost, and those that are done.
    path: dict[bytes, None] = {}
    waiting = [iter(primary.sub_workflows)]
    done: set[bytes] = set()
    while waiting:
        following = next(waiting[-1], None)
        if following is None:
            waiting.pop()
            if path:
                done.add(path.popitem()[0])
            continue
        node, identifier = following
        name = key(identifier)
        if name not in index:
            problems.no_workflow(node, text(identifier))
        elif name in path:
            # Deviates: a sub-workflow that contains itself overflows the stack of upstream's process and ends it.
            outer = list(path)
            ring = [*outer[outer.index(name) :], name]
            cycle = Problems()
            cycle.cycle(START, [text(index[link].id) for link in ring])
            raise CompileErrors(cycle.found)
        elif name not in done:
            inner = references_of(index[name])
            tasks.update(inner.tasks)
            launch_plans.update(inner.launch_plans)
            path[name] = None
            waiting.append(iter(inner.sub_workflows))
    return Requirements(_sorted(tasks), _sorted(launch_plans))


def _index(subworkflows: Sequence[workflow_pb2.WorkflowTemplate]) -> dict[bytes, workflow_pb2.WorkflowTemplate]:
    index: dict[bytes, workflow_pb2.WorkflowTemplate] = {}
    problems = Problems()
    for subworkflow in subworkflows:
        if not subworkflow.HasField("id"):
            # Parity: the text has no errors, because NewWorkflowIndex reports none for an absent id.
            raise CompileErrors(set())
        if key(subworkflow.id) in index:
            problems.add("DuplicateId", text(subworkflow.id), "Trying to insert two nodes with the same id.")
        index[key(subworkflow.id)] = subworkflow
    problems.raise_any()
    return index


def references_of(template: workflow_pb2.WorkflowTemplate) -> _References:
    """Return the references of all nodes of one workflow, also of the failure node and inside branches and arrays."""
    found = _References({}, {}, [])
    for node in _nodes(template):
        match node.WhichOneof("target"):
            case "task_node" if node.task_node.HasField("reference_id"):
                found.tasks[key(node.task_node.reference_id)] = node.task_node.reference_id
            case "workflow_node":
                reference = node.workflow_node
                match reference.WhichOneof("reference"):
                    case "launchplan_ref":
                        found.launch_plans[key(reference.launchplan_ref)] = reference.launchplan_ref
                    case "sub_workflow_ref":
                        found.sub_workflows.append((node.id, reference.sub_workflow_ref))
    return found


def _nodes(template: workflow_pb2.WorkflowTemplate) -> Iterator[workflow_pb2.Node]:
    waiting = list(reversed(template.nodes))
    if template.HasField("failure_node"):
        waiting.insert(0, template.failure_node)
    while waiting:
        node = waiting.pop()
        yield node
        match node.WhichOneof("target"):
            case "array_node":
                waiting.append(node.array_node.node)
            case "branch_node":
                if_else = node.branch_node.if_else
                if if_else.WhichOneof("default") == "else_node":
                    waiting.append(if_else.else_node)
                waiting.extend(block.then_node for block in reversed(if_else.other))
                waiting.append(if_else.case.then_node)


def _sorted(found: dict[bytes, identifier_pb2.Identifier]) -> tuple[identifier_pb2.Identifier, ...]:
    return tuple(
        sorted(
            found.values(),
            key=lambda name: (name.resource_type, name.project, name.domain, name.name, name.version, name.org),
        )
    )
