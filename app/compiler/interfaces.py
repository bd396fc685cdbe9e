"""The interface of a node, resolved by its kind: task, workflow, branch, gate or array.

A resolved interface is stored in the vertex. One that could not be resolved is tried again at the next call.

Source: validators.ValidateUnderlyingInterface.
"""

from __future__ import annotations

from collections.abc import Iterator

from flyteidl.core import identifier_pb2, interface_pb2, types_pb2, workflow_pb2

from app.compiler.binding_checks import bind
from app.compiler.compile_errors import Problems
from app.compiler.workflow_graph import Interface, Vertex, WorkflowGraph, interface_of, key, normalised
from app.wire.text import text


def resolve(graph: WorkflowGraph, vertex: Vertex, problems: Problems) -> Interface | None:
    """Return the interface of a node; None after a problem."""
    if vertex.interface is not None:
        return vertex.interface
    library, mark = graph.library, problems.count
    if not library.may_descend(vertex.id, problems):
        return None
    library.level += 1
    interface = _interface(graph, vertex, problems)
    library.level -= 1
    for name in interface.missing if interface is not None else ():
        problems.value_required(vertex.id, name)
    if problems.count > mark or interface is None:
        return None
    vertex.interface = interface
    return interface


def _interface(graph: WorkflowGraph, vertex: Vertex, problems: Problems) -> Interface | None:
    match vertex.message.WhichOneof("target"):
        case "task_node":
            return _task(graph, vertex, problems)
        case "workflow_node":
            return _workflow(graph, vertex, problems)
        case "branch_node":
            return _branch(graph, vertex, problems)
        case "gate_node":
            return _gate(graph, vertex, problems)
        case "array_node":
            return _array(graph, vertex, problems)
    problems.value_required(vertex.id, "Target")
    return None


def _array(graph: WorkflowGraph, vertex: Vertex, problems: Problems) -> Interface | None:
    """Return the interface of an array node.

    Parity: it is the interface of the element, because flytekit registers tasks whose interface has the lists already.

    Deviates: where the node declares that the interface of the element is the original one, as for launch plans, lists
    are put around it. Upstream compiles such an array only if its inputs are no lists, and then cannot run it.
    """
    array = vertex.message.array_node
    element = resolve(graph, vertex.inside("node", array.node), problems)
    if element is None or not array.is_original_sub_node_interface.value:
        return element
    inputs = {name: type if name in array.bound_inputs else _list_of(type) for name, type in element.inputs.items()}
    return Interface(inputs, {name: _list_of(type) for name, type in element.outputs.items()}, element.missing)


def _list_of(type: types_pb2.LiteralType) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(collection_type=type)


def _task(graph: WorkflowGraph, vertex: Vertex, problems: Problems) -> Interface | None:
    task_node = vertex.message.task_node
    if not task_node.HasField("reference_id"):
        problems.value_required(vertex.id, "TaskNode.ReferenceId")
        return None
    name = key(task_node.reference_id)
    if name not in graph.library.tasks:
        problems.no_task(vertex.id, text(task_node.reference_id))
        return None
    return graph.library.task_interface(name)


def _workflow(graph: WorkflowGraph, vertex: Vertex, problems: Problems) -> Interface | None:
    node = vertex.message.workflow_node
    match node.WhichOneof("reference"):
        case "launchplan_ref":
            return _launch_plan(graph, vertex, node.launchplan_ref, problems)
        case "sub_workflow_ref":
            sub_workflow = graph.library.sub_workflows.get(key(node.sub_workflow_ref))
            if sub_workflow is None:
                problems.no_workflow(vertex.id, text(node.sub_workflow_ref))
            elif not sub_workflow.template.HasField("interface"):
                problems.value_required(vertex.id, "WorkflowNode.Template.Interface")
            else:
                return normalised(sub_workflow.template.interface)
        case _:
            problems.no_workflow(vertex.id, "<nil>/<nil>")
    return None


def _launch_plan(
    graph: WorkflowGraph, vertex: Vertex, identifier: identifier_pb2.Identifier, problems: Problems
) -> Interface | None:
    if graph.core.template.HasField("id") and key(identifier) == key(graph.core.template.id):
        # Parity: a launch plan with the identifier of the workflow has the interface of the workflow.
        return graph.interface
    launch_plan = graph.library.launch_plans.get(key(identifier))
    if launch_plan is None:
        problems.no_workflow(vertex.id, text(identifier))
        return None
    inputs, outputs = launch_plan.expected_inputs, launch_plan.expected_outputs
    if inputs is None:
        problems.value_required(vertex.id, "WorkflowNode.ExpectedInputs")
        inputs = interface_pb2.ParameterMap()
    if outputs is None:
        problems.value_required(vertex.id, "WorkflowNode.ExpectedOutputs")
        outputs = interface_pb2.VariableMap()
    # An input with a default is an input of the node only if the node binds it.
    bound = {binding.var for binding in vertex.message.inputs}
    exposed = (
        (name, parameter.var) for name, parameter in inputs.parameters.items() if parameter.required or name in bound
    )
    return interface_of(exposed, outputs)


def _gate(graph: WorkflowGraph, vertex: Vertex, problems: Problems) -> Interface | None:
    gate = vertex.message.gate_node
    match gate.WhichOneof("condition"):
        case "approve":
            # The approved values are the outputs.
            passed = bind(graph, vertex, vertex.message.inputs, None, graph.add_upstream, problems)
            return Interface(passed, passed)
        case "signal" if not gate.signal.HasField("type"):
            problems.value_required(vertex.id, "GateNode.Signal.Type")
        case "signal" if not gate.signal.output_variable_name:
            problems.value_required(vertex.id, "GateNode.Signal.OutputVariableName")
        case "signal":
            return Interface({}, {gate.signal.output_variable_name: gate.signal.type})
        case "sleep":
            return Interface({}, {})
        case _:
            what = f"Can't find any condition in gate node [{vertex.id}]."
            problems.add("NoConditionFound", vertex.id, what)
    return None


def _branch(graph: WorkflowGraph, vertex: Vertex, problems: Problems) -> Interface | None:
    """Return the interface of a branch: the inputs that are bound, and the outputs that all cases have.

    Source: validateBranchInterface.
    """
    mark, branch = problems.count, vertex.message.branch_node
    if not branch.HasField("if_else"):
        problems.value_required(vertex.id, "Branch.IfElse")
    elif not branch.if_else.HasField("case"):
        problems.value_required(vertex.id, "Branch.IfElse.Case")
    elif not branch.if_else.case.HasField("then_node"):
        problems.value_required(vertex.id, "Branch.IfElse.Case.ThenNode")
    if problems.count > mark:
        return None
    for other in branch.if_else.other:
        if not other.HasField("then_node"):
            problems.value_required(vertex.id, "IfElse.Case.ThenNode")
    outputs = None
    for inner in cases(vertex):
        inner.rename(f"{vertex.id}-{inner.id}")
        interface = resolve(graph, inner, problems)
        if interface is None:
            continue
        if outputs is None:
            outputs = dict(interface.outputs)
            continue
        outputs = {name: kind for name, kind in outputs.items() if name in interface.outputs}
        for name, kind in outputs.items():
            other_kind = interface.outputs[name]
            # Parity: a variable must have an equal type in all cases; castable is not enough (validateVarType).
            if kind != other_kind:
                library = graph.library
                problems.mismatching_types(inner.id, name, library.type_text(kind), library.type_text(other_kind))
    # Parity: bindings are checked before later nodes are added, so they can refer to earlier nodes only.
    bound = bind(graph, vertex, vertex.message.inputs, None, graph.add_upstream, problems)
    if problems.count > mark or outputs is None:
        return None
    return Interface(bound, outputs)


def cases(vertex: Vertex) -> Iterator[Vertex]:
    """Yield the nodes inside a branch: of the first case, of the other cases, and of `else`."""
    if_else = vertex.message.branch_node.if_else
    blocks: list[tuple[object, workflow_pb2.IfBlock]] = [("case", if_else.case), *enumerate(if_else.other)]
    for place, block in blocks:
        if block.HasField("then_node"):
            yield vertex.inside(place, block.then_node)
    if if_else.WhichOneof("default") == "else_node":
        yield vertex.inside("else", if_else.else_node)
