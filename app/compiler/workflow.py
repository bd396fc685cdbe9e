"""Compiles a submitted workflow into the closure that an engine runs.

A start node and an end node are added, nodes inside branches get the branch's name as a prefix, and the edges between
nodes are derived from their bindings.

Proto: flyteidl/core/compiler.proto. Source: compiler.CompileWorkflow.
"""

from __future__ import annotations

from collections.abc import Sequence

from flyteidl.admin import workflow_pb2
from flyteidl.core import compiler_pb2, condition_pb2
from flyteidl.core.workflow_pb2 import IfBlock, WorkflowTemplate

from app.compiler.binding_checks import Edge, bind, outputs_of
from app.compiler.compile_errors import Problems
from app.compiler.inference import type_of_primitive
from app.compiler.interfaces import cases, resolve
from app.compiler.requirements import collect
from app.compiler.workflow_graph import (
    END,
    NODE_STEPS,
    START,
    STEPS_MAX,
    Interface,
    LaunchPlanInterface,
    Library,
    TooMuchWork,
    Vertex,
    WorkflowGraph,
    key,
)
from app.wire.text import text


def compile_workflow(
    template: WorkflowTemplate,
    subworkflows: Sequence[WorkflowTemplate],
    tasks: Sequence[compiler_pb2.CompiledTask],
    launch_plans: Sequence[LaunchPlanInterface],
) -> compiler_pb2.CompiledWorkflowClosure:
    """Return the closure of a workflow. The arguments are not changed.

    Args:
        template: The workflow.
        subworkflows: The sub-workflows that it uses, directly or through others.
        tasks: At least those that `requirements` returns. The closure has them in this order.
        launch_plans: At least those that `requirements` returns.

    Raises:
        CompileErrors: All problems of the workflow.
    """
    problems, library = Problems(), Library()
    closure = compiler_pb2.CompiledWorkflowClosure()
    closure.primary.template.CopyFrom(template)
    for task in tasks:
        if not task.template.HasField("id"):
            problems.value_required("task", "Template.Id")
            problems.raise_any()
        if key(task.template.id) not in library.tasks:
            closure.tasks.add().template.CopyFrom(task.template)
            library.tasks[key(task.template.id)] = closure.tasks[-1].template
    library.launch_plans = {key(launch_plan.id): launch_plan for launch_plan in launch_plans}
    needed = collect(template, subworkflows, problems)
    for identifier in needed.launch_plan_ids:
        if key(identifier) not in library.launch_plans:
            problems.no_workflow(START, text(identifier))
    for identifier in needed.task_ids:
        if key(identifier) not in library.tasks:
            problems.no_task(START, text(identifier))
    problems.raise_any()
    for sub_workflow in subworkflows:
        closure.sub_workflows.add().template.CopyFrom(sub_workflow)
        library.sub_workflows[key(sub_workflow.id)] = closure.sub_workflows[-1]
    try:
        _compile(library, closure.primary, problems)
    except TooMuchWork:
        problems.too_large(START, f"The workflow takes more than {STEPS_MAX} steps to compile.")
    problems.check_depth(START, lambda: _listed(closure))
    problems.raise_any()
    return closure


def _listed(closure: compiler_pb2.CompiledWorkflowClosure) -> workflow_pb2.WorkflowList:
    shown = workflow_pb2.Workflow(closure=workflow_pb2.WorkflowClosure(compiled_workflow=closure))
    return workflow_pb2.WorkflowList(workflows=[shown])


def _compile(library: Library, core: compiler_pb2.CompiledWorkflow, problems: Problems) -> None:
    """Compile one workflow in place (upstream workflowBuilder.ValidateWorkflow).

    Parity: a sub-workflow that two workflows use is compiled again, in place, for each of them, which prefixes the
    nodes inside its branches again. Digests of stored workflows depend on it.
    """
    template = core.template
    if not template.nodes:
        name = text(template.id) if template.HasField("id") else text(None)
        problems.add("NoNodesFound", name, f"Can't find any nodes in workflow [{name}].")
        return
    graph = WorkflowGraph(library, core)
    for missing in graph.interface.missing:
        problems.value_required(START, missing)
    if graph.interface.missing:
        return
    top_level = _add_nodes(graph, problems)
    order = sorted(graph.nodes)
    for name in order:
        if name != START:
            vertex = graph.nodes[name]
            for provider in vertex.message.upstream_node_ids if vertex.interface is not None else ():
                graph.add_edge(provider, name)
            _bind(graph, vertex, graph.add_edge, problems)
    if template.HasField("failure_node"):
        # The failure node is outside of the main graph: it reads outputs of nodes, and no node waits for it.
        failure = Vertex(template.failure_node)
        _check_node(graph, failure, problems)
        _bind(graph, failure, graph.add_upstream, problems)
    for name in order:
        if name not in top_level or name in (START, END):
            continue
        if name not in graph.upstream:
            graph.add_edge(START, name)
        if name not in graph.downstream:
            graph.add_edge(name, END)
    _bind(graph, graph.nodes[END], graph.add_edge, problems)
    graph.check_reachable(problems)
    # The end node reads the outputs of the workflow. They are copied after promises have been rewritten.
    graph.nodes[END].message.inputs.extend(template.outputs)
    graph.write_connections()


def _add_nodes(graph: WorkflowGraph, problems: Problems) -> set[str]:
    """Rebuild the node list behind a start and an end node, checking each node as it is added.

    Parity: a node with the id of an earlier node, or of the start or end node, is checked and dropped without an error
    (AddNode). A node is checked before later nodes are added.
    """
    template = graph.core.template
    submitted = list(template.nodes)
    del template.nodes[:]
    graph.nodes[START] = Vertex(template.nodes.add(id=START), Interface({}, graph.interface.inputs))
    graph.nodes[END] = Vertex(template.nodes.add(id=END), Interface(graph.interface.outputs, {}))
    for message in submitted:
        vertex = Vertex(message)
        if vertex.id not in graph.nodes:
            template.nodes.append(message)
            vertex.message = template.nodes[-1]
            graph.nodes[vertex.id] = vertex
        _check_node(graph, vertex, problems)
    return {message.id for message in submitted}


def _bind(graph: WorkflowGraph, vertex: Vertex, edge: Edge, problems: Problems) -> None:
    """Check the bindings of a node and add the edges of its promises (upstream AddEdges)."""
    if vertex.interface is not None:
        bindings = graph.core.template.outputs if vertex.id == END else vertex.message.inputs
        bind(graph, vertex, bindings, vertex.interface.inputs, edge, problems)


def _check_node(graph: WorkflowGraph, vertex: Vertex, problems: Problems) -> None:
    """Check a node when it is added, before its bindings (upstream ValidateNode)."""
    library = graph.library
    library.spend(NODE_STEPS)
    if not vertex.id:
        problems.value_required("<node>", "Id")
    if vertex.id in (START, END) or not library.may_descend(vertex.id, problems):
        return
    library.level += 1
    if resolve(graph, vertex, problems) is not None:
        outputs_of(vertex, problems)
    if len(vertex.message.upstream_node_ids) > 1:
        vertex.message.upstream_node_ids.sort()
    match vertex.message.WhichOneof("target"):
        case "branch_node":
            _check_branch(graph, vertex, problems)
        case "workflow_node" if vertex.message.workflow_node.WhichOneof("reference") == "sub_workflow_ref":
            _check_sub_workflow(graph, vertex, problems)
    library.level -= 1


def _check_sub_workflow(graph: WorkflowGraph, vertex: Vertex, problems: Problems) -> None:
    """Compile the sub-workflow of a node, once for all nodes of this workflow.

    Deviates: upstream compiles a sub-workflow with problems again for each node, and reports them with longer names.
    """
    identifier = vertex.message.workflow_node.sub_workflow_ref
    if key(identifier) in graph.compiled:
        return
    sub_workflow = graph.library.sub_workflows.get(key(identifier))
    if sub_workflow is None:
        problems.no_workflow(vertex.id, text(identifier))
    else:
        graph.compiled.add(key(identifier))
        _compile(graph.library, sub_workflow, problems)


def _check_branch(graph: WorkflowGraph, vertex: Vertex, problems: Problems) -> None:
    """Check the conditions and inner nodes of a branch (upstream ValidateBranchNode)."""
    mark, if_else = problems.count, vertex.message.branch_node.if_else
    blocks = list(if_else.other)
    if if_else.HasField("case"):
        blocks.insert(0, if_else.case)
    else:
        _no_condition(vertex, problems)
    for block in blocks:
        _check_condition(graph, vertex, block, problems)
        if not block.HasField("then_node"):
            problems.add("BranchNodeIdNotFound", vertex.id, "BranchNode not assigned")
    if if_else.WhichOneof("default") is None:
        what = "Branch Node must have either the else case set or a default error."
        problems.add("BranchNodeHasNoDefault", vertex.id, what)
    inner = list(cases(vertex))
    for node in inner:
        _check_node(graph, node, problems)
    if problems.count == mark:
        for node in inner:
            # Parity: upstream ids of inner nodes are stored and have no effect.
            _bind(graph, node, graph.add_upstream, problems)


def _no_condition(vertex: Vertex, problems: Problems) -> None:
    what = "One of the branches on the node doesn't have a condition."
    problems.add("BranchNodeHasNoCondition", vertex.id, what)


def _check_condition(graph: WorkflowGraph, vertex: Vertex, block: IfBlock, problems: Problems) -> None:
    """Check the condition of a case (upstream ValidateBooleanExpression)."""
    waiting = [block.condition if block.HasField("condition") else None]
    while waiting:
        expression = waiting.pop()
        if expression is None:
            _no_condition(vertex, problems)
            continue
        match expression.WhichOneof("expr"):
            case "comparison":
                _check_comparison(graph, vertex, expression.comparison, problems)
            case "conjunction":
                both = expression.conjunction
                waiting.append(both.left_expression if both.HasField("left_expression") else None)
                waiting.append(both.right_expression if both.HasField("right_expression") else None)
            case _:
                problems.value_required(vertex.id, "Expr")


def _check_comparison(
    graph: WorkflowGraph, vertex: Vertex, comparison: condition_pb2.ComparisonExpression, problems: Problems
) -> None:
    """Check both operands of a comparison, and that their types are equal (upstream validateOperand).

    Deviates: None may be compared by == and != with a value of any type, as flytekit's `Promise.is_none()` does;
    upstream refuses it.
    """
    kinds = []
    equality = comparison.operator in (condition_pb2.ComparisonExpression.EQ, condition_pb2.ComparisonExpression.NEQ)
    for name, field in (("RightValue", "right_value"), ("LeftValue", "left_value")):
        operand, kind = getattr(comparison, field), None
        if not comparison.HasField(field):
            problems.value_required(vertex.id, name)
        elif equality and operand.scalar.HasField("none_type"):
            pass
        elif operand.WhichOneof("val") == "primitive":
            kind = type_of_primitive(operand.primitive)
        elif not operand.var:
            # Parity: other scalars are refused as operands.
            problems.value_required(vertex.id, f"{name}.Val")
        elif vertex.interface is None:
            problems.value_required(vertex.id, operand.var)
        elif operand.var in vertex.interface.inputs:
            kind = vertex.interface.inputs[operand.var]
        elif all(binding.var != operand.var for binding in vertex.message.inputs):
            problems.no_variable(vertex.id, operand.var)
        kinds.append(kind)
    right, left = kinds
    if right is not None and left is not None and right != left:
        show = graph.library.type_text
        problems.mismatching_types(vertex.id, "RightValue", show(right), show(left))
