"""Everything that can be wrong with a workflow, with the text that says so."""

from __future__ import annotations

import pytest
from flyteidl.core import identifier_pb2, interface_pb2, workflow_pb2
from google.protobuf import text_format

from app.compiler import CompileErrors, CompileProblem, LaunchPlanInterface, compile_workflow
from tests.compiler.invariants import check_compiled
from tests.compiler.shapes import (
    TASKS,
    a_node,
    a_type,
    a_workflow,
    an_id,
    bound,
    compiled,
    task_id,
    variables,
    workflow_id,
)

PLAN = an_id(identifier_pb2.LAUNCH_PLAN, "plan")
WF = 'resource_type:WORKFLOW project:"p" domain:"d" name:"wf" version:"v"'
SUB = 'resource_type:WORKFLOW project:"p" domain:"d" name:"sub" version:"v"'
NOBODY = 'resource_type:TASK project:"p" domain:"d" name:"nobody" version:"v"'
INT, STR = "simple:INTEGER", "simple:STRING"


def node(written: str, **inputs: object) -> workflow_pb2.Node:
    """A node in text form, with inputs."""
    made = text_format.Parse(written, workflow_pb2.Node())
    made.MergeFrom(a_node(made.id, **inputs))
    return made


def branch(
    condition: str,
    then: str = "t",
    given: str = "integer: 1",
    rest: str = "error { message: 'none' }",
) -> workflow_pb2.Node:
    """A branch on the input x whose one case runs inc with a constant."""
    inc = text_format.MessageToString(task_id("inc"), as_one_line=True)
    inputs = f"inputs {{ var: 'x' binding {{ scalar {{ primitive {{ {given} }} }} }} }}"
    inner = f"then_node {{ id: '{then}' {inputs} task_node {{ reference_id {{ {inc} }} }} }}" if then else ""
    return node(f"id: 'b' branch_node {{ if_else {{ case {{ {condition} {inner} }} {rest} }} }}", x=".x")


def comparing(left: str, right: str) -> str:
    return f"condition {{ comparison {{ operator: EQ {left} {right} }} }}"


X, ONE, WORD = "left_value { var: 'x' }", "right_value { primitive { integer: 1 } }", "primitive { string_value: 'a' }"
NOTHING = "right_value { scalar { none_type {} } }"
FINE = comparing(X, ONE)


def sub_node(name: str = "sub") -> workflow_pb2.Node:
    made = workflow_pb2.Node(id="s")
    made.workflow_node.sub_workflow_ref.CopyFrom(workflow_id(name))
    return made


def aliased(*aliases: tuple[str, str]) -> workflow_pb2.Node:
    made = a_node("n0", "inc", x=1)
    for variable, alias in aliases:
        made.output_aliases.add(var=variable, alias=alias)
    return made


def promising(attribute: str) -> workflow_pb2.Node:
    made = a_node("n1", "inc", x="n0.o")
    made.inputs[0].binding.promise.attr_path.add(string_value=attribute)
    return made


def mapped(task: str, *bound_inputs: str, **inputs: object) -> workflow_pb2.Node:
    """n1: an array node over a task whose interface knows nothing of lists."""
    made = a_node("n1", **inputs)
    made.array_node.node.CopyFrom(a_node("", task, **inputs))
    made.array_node.is_original_sub_node_interface.value = True
    made.array_node.bound_inputs.extend(bound_inputs)
    return made


def unbound(id: str, task: str, **inputs: object) -> workflow_pb2.Node:
    """A node whose input `empty` has a binding without anything, or no binding at all."""
    made = a_node(id, task)
    for name, written in inputs.items():
        added = made.inputs.add(var=name)
        if written is not None:
            added.binding.scalar.blob.SetInParent()
    return made


def named(id: str, name: str, task: str, **inputs: object) -> workflow_pb2.Node:
    made = a_node(id, task, **inputs)
    made.metadata.name = name
    return made


MISMATCH = (
    "The output variable '{}' has type [{}], but it's assigned to the input variable '{}' which has type type [{}]."
)
WRONG_KIND = "Variable [{}] (type [{}]) doesn't match expected type [{}]."
EXPECTS = "Input [{}] on node [{}] expects bindings of type [{}].  Received [{}]"
UNION = "union_type:{variants:{collection_type:{simple:INTEGER}} variants:{collection_type:{simple:STRING}}}"

# What is wrong: the nodes (beside an input x: int) → the problems, each as (code, node, description).
NODES: dict[str, tuple[list[workflow_pb2.Node], list[tuple[str, str, str]]]] = {
    "a cycle": (
        [a_node("n0", "add", a=".x", b="n1.o"), a_node("n1", "inc", x="n0.o")],
        [
            (
                "CycleDetected",
                "start-node",
                "A cycle has been detected while traversing the Workflow [start-node>n0>n1>n0].",
            )
        ],
    ),
    "a cycle that nothing leads to": (
        [a_node("n0", "noop"), a_node("n2", "inc", x="n1.o"), a_node("n1", "inc", x="n2.o")],
        [("UnreachableNodes", "start-node", "The Workflow contain unreachable nodes [n1,n2].")],
    ),
    "an upstream node that does not exist": (
        [a_node("n0", "noop", after=("ghost",))],
        [("UnreachableNodes", "start-node", "The Workflow contain unreachable nodes [n0].")],
    ),
    "a node without id": ([a_node("", "noop")], [("ValueRequired", "<node>", "Value required [Id].")]),
    "a node without target": ([a_node("n0")], [("ValueRequired", "n0", "Value required [Target].")]),
    "a task node without task": (
        [node("id: 'n0' task_node {}")],
        [("ValueRequired", "n0", "Value required [TaskNode.ReferenceId].")],
    ),
    "a task that is not there": (
        [a_node("n0", "nobody")],
        [("TaskReferenceNotFound", "start-node", f"Referenced Task [{NOBODY}] not found.")],
    ),
    "a workflow node without workflow": (
        [node("id: 'n0' workflow_node {}")],
        [("WorkflowReferenceNotFound", "n0", "Referenced Workflow [<nil>/<nil>] not found.")],
    ),
    "a sub-workflow that is not there": (
        [sub_node()],
        [("WorkflowReferenceNotFound", "s", f"Referenced Workflow [{SUB}] not found.")],
    ),
    "an alias twice": (
        [aliased(("o", "a"), ("o", "b"))],
        [
            (
                "DuplicateAlias",
                "n0",
                "Duplicate alias [b] found. An output alias can only be used once in the Workflow.",
            )
        ],
    ),
    "an alias of nothing": ([aliased(("zz", "a"))], [("ParameterNotBound", "n0", "Parameter not bound [a].")]),
    "an output that has another name now": (
        [aliased(("o", "a")), a_node("n1", "inc", x="n0.o")],
        [
            ("ParameterNotBound", "n1", "Parameter not bound [x]."),
            ("VariableNameNotFound", "n0", "Variable [o] not found on node [n0]."),
        ],
    ),
    "an input that is not bound": (
        [a_node("n0", "add", a=1)],
        [("ParameterNotBound", "n0", "Parameter not bound [b].")],
    ),
    "an input that is bound twice": (
        [node(f"{a_node('n0', 'inc', x=1)}", x=2)],
        [("ParameterBoundMoreThanOnce", "n0", "Input [x] is bound more than once.")],
    ),
    "an input that the task does not have": (
        [a_node("n0", "inc", x=1, zz=1)],
        [("VariableNameNotFound", "n0", "Variable [zz] not found on node [n0].")],
    ),
    "a binding that is missing": (
        [unbound("n0", "inc", x=None)],
        [
            ("ParameterNotBound", "n0", "Parameter not bound [x]."),
            ("ValueRequired", "n0", "Value required [Binding]."),
        ],
    ),
    "a binding without value": (
        [node(f"{a_node('n0', 'inc')} inputs {{ var: 'x' binding {{}} }}")],
        [("MismatchingBindings", "n0", EXPECTS.format("x", "n0", INT, ""))],
    ),
    "a list for a number": (
        [a_node("n0", "inc", x=[1])],
        [("MismatchingBindings", "n0", EXPECTS.format("x", "n0", INT, "bindings:{scalar:{primitive:{integer:1}}}"))],
    ),
    "a map for a list": (
        [a_node("n0", "total", xs={"k": 1})],
        [
            (
                "MismatchingBindings",
                "n0",
                EXPECTS.format(
                    "xs",
                    "n0",
                    "collection_type:{simple:INTEGER}",
                    'bindings:{key:"k" value:{scalar:{primitive:{integer:1}}}}',
                ),
            )
        ],
    ),
    "one element of a list": (
        [a_node("n0", "total", xs=[1, "a"])],
        [("MismatchingTypes", "n0", WRONG_KIND.format("xs", STR, INT))],
    ),
    "a constant of another type": (
        [a_node("n0", "inc", x="a")],
        [("MismatchingTypes", "n0", WRONG_KIND.format("x", STR, INT))],
    ),
    "a promise of another type": (
        [named("n0", "first", "say", s="a"), named("n1", "", "inc", x="n0.o")],
        [("MismatchingTypes", "n1", MISMATCH.format("first.o", STR, ".x", INT))],
    ),
    "a struct for a number": (
        [a_node("n0", "point"), a_node("n1", "inc", x="n0.o")],
        [
            (
                "MismatchingTypes",
                "n1",
                MISMATCH.format(
                    "o", "simple: STRUCT structure{dataclass_type:{key:x value:{simple:INTEGER}}", "x", INT
                ),
            )
        ],
    ),
    "a field that the class does not have": (
        [a_node("n0", "point"), promising("y")],
        [
            (
                "FieldNotFound",
                "n1",
                'Variable [o] (type [simple:STRUCT structure:{dataclass_type:{key:"x" value:{simple:INTEGER}}}]) '
                "doesn't have field [y].",
            )
        ],
    ),
    "a node that does not exist": (
        [a_node("n0", "inc", x="n7.o")],
        [
            ("NodeReferenceNotFound", "n7", "Referenced node [n7] not found."),
            ("ParameterNotBound", "n0", "Parameter not bound [x]."),
        ],
    ),
    "an output that does not exist": (
        [a_node("n0", "inc", x=1), a_node("n1", "inc", x="n0.zz")],
        [
            ("ParameterNotBound", "n1", "Parameter not bound [x]."),
            ("VariableNameNotFound", "n0", "Variable [zz] not found on node [n0]."),
        ],
    ),
    "two names in one": ([a_node("n0", "inc", x=".a b")], [("SyntaxError", "n0", "Failed to parse element [a b].")]),
    "an index beyond numbers": (
        [a_node("n0", "inc", x=f".[{'9' * 20}].x")],
        [("SyntaxError", "n0", f"Failed to parse element [[{'9' * 20}].x].")],
    ),
    "an index into a number": (
        [a_node("n0", "say", s=".[1].x")],
        [("MismatchingTypes", "n0", MISMATCH.format("[1].x", INT, "s", STR))],
    ),
    "a blob that says nothing": (
        [unbound("n0", "file", f="empty")],
        [("UnrecognizedValue", "n0", "Unrecognized value [*core.Scalar_Blob].")],
    ),
    "an empty scalar": (
        [node(f"{a_node('n0', 'inc')} inputs {{ var: 'x' binding {{ scalar {{}} }} }}")],
        [("UnrecognizedValue", "n0", "Unrecognized value [<nil>].")],
    ),
    "a colour that is none": (
        [a_node("n0", "paint", c="blue")],
        [
            (
                "IllegalEnumValue",
                "n0",
                "Input [c] on node [n0] is an Enum and expects value to be one of [[red green]].  Received [blue]",
            )
        ],
    ),
    "a colour outside the set, where there may be none": (
        [a_node("n0", "maybe_paint", c="blue")],
        [
            (
                "IllegalEnumValue",
                "n0",
                "Input [c] on node [n0] has a value outside its type: "
                '"blue" is not one of the values of the enum: red, green',
            )
        ],
    ),
    "a number for a colour": (
        [a_node("n0", "paint", c=3)],
        [
            (
                "IllegalEnumValue",
                "n0",
                "Input [c] on node [n0] is an Enum and expects value to be one of [[red green]].  Received []",
            ),
            ("MismatchingTypes", "n0", WRONG_KIND.format("c", INT, 'enum_type:{values:"red" values:"green"}')),
        ],
    ),
    "a list that fits two variants": (
        [a_node("n0", "either", v=[])],
        [
            (
                "AmbiguousBindingUnionValue",
                "n0",
                f"Input [v] on node [n0] expects bindings of union type [{UNION}].  Received [collection:{{}}] which "
                "is ambiguous as both variants [collection_type:{simple:INTEGER}] and "
                "[collection_type:{simple:STRING}] match.",
            )
        ],
    ),
    "a list that fits no variant": (
        [a_node("n0", "either", v=[1, "a"])],
        [
            (
                "IncompatibleBindingUnionValue",
                "n0",
                f"Input [v] on node [n0] expects bindings of union type [{UNION}].  Received "
                "[collection:{bindings:{scalar:{primitive:{integer:1}}} "
                'bindings:{scalar:{primitive:{string_value:"a"}}}}] which does not match any of the variants.',
            )
        ],
    ),
    "a gate without condition": (
        [node("id: 'n0' gate_node {}")],
        [("NoConditionFound", "n0", "Can't find any condition in gate node [n0].")],
    ),
    "a signal without type": (
        [node("id: 'n0' gate_node { signal { output_variable_name: 'o' } }")],
        [("ValueRequired", "n0", "Value required [GateNode.Signal.Type].")],
    ),
    "a signal without name": (
        [node("id: 'n0' gate_node { signal { type { simple: INTEGER } } }")],
        [("ValueRequired", "n0", "Value required [GateNode.Signal.OutputVariableName].")],
    ),
    "an approval of a later node": (
        [node("id: 'n0' gate_node { approve {} }", v="n1.o"), a_node("n1", "inc", x=1)],
        [
            ("NodeReferenceNotFound", "n1", "Referenced node [n1] not found."),
            ("ParameterNotBound", "n0", "Parameter not bound [v]."),
        ],
    ),
    "an array without element": (
        [node("id: 'n0' array_node {}")],
        [("ValueRequired", "", "Value required [Target].")],
    ),
    "a branch without anything": (
        [node("id: 'b' branch_node {}")],
        [
            (
                "BranchNodeHasNoCondition",
                "b",
                "One of the branches on the node doesn't have a condition.",
            ),
            (
                "BranchNodeHasNoDefault",
                "b",
                "Branch Node must have either the else case set or a default error.",
            ),
            ("ValueRequired", "b", "Value required [Branch.IfElse]."),
        ],
    ),
    "a branch without condition": (
        [branch("")],
        [("BranchNodeHasNoCondition", "b", "One of the branches on the node doesn't have a condition.")],
    ),
    "half a conjunction": (
        [branch(f"condition {{ conjunction {{ left_expression {{ {FINE[12:-2]} }} }} }}")],
        [("BranchNodeHasNoCondition", "b", "One of the branches on the node doesn't have a condition.")],
    ),
    "a branch without default": (
        [branch(FINE, rest="")],
        [("BranchNodeHasNoDefault", "b", "Branch Node must have either the else case set or a default error.")],
    ),
    "a branch without node": (
        [branch(FINE, then="")],
        [
            ("BranchNodeIdNotFound", "b", "BranchNode not assigned"),
            ("ValueRequired", "b", "Value required [Branch.IfElse.Case.ThenNode]."),
            ("ValueRequired", "b", "Value required [x]."),
        ],
    ),
    "another case without node": (
        [branch(FINE, rest=f"error {{}} other {{ {FINE} }}")],
        [
            ("BranchNodeIdNotFound", "b", "BranchNode not assigned"),
            ("UnreachableNodes", "start-node", "The Workflow contain unreachable nodes [b]."),
            ("ValueRequired", "b", "Value required [IfElse.Case.ThenNode]."),
            ("ValueRequired", "b", "Value required [x]."),
        ],
    ),
    "a condition without expression": (
        [branch("condition {}")],
        [("ValueRequired", "b", "Value required [Expr].")],
    ),
    "an operand that is missing": (
        [branch(comparing(X, ""))],
        [("ValueRequired", "b", "Value required [RightValue].")],
    ),
    "an operand that is a scalar": (
        [branch(comparing("left_value { scalar { generic {} } }", ONE))],
        [("ValueRequired", "b", "Value required [LeftValue.Val].")],
    ),
    "nothing that is put into an order": (
        [branch(comparing(X, NOTHING).replace("EQ", "GT"))],
        [("ValueRequired", "b", "Value required [RightValue.Val].")],
    ),
    "an operand that is not bound": (
        [branch(comparing("left_value { var: 'zz' }", ONE))],
        [("VariableNameNotFound", "b", "Variable [zz] not found on node [b].")],
    ),
    "operands of two types": (
        [branch(comparing(X, f"right_value {{ {WORD} }}"))],
        [("MismatchingTypes", "b", WRONG_KIND.format("RightValue", STR, INT))],
    ),
    "a node inside with a wrong input": (
        [branch(FINE, given="string_value: 'a'")],
        [("MismatchingTypes", "b-t", WRONG_KIND.format("x", STR, INT))],
    ),
    "the inside of a branch from outside": (
        [branch(FINE), a_node("n1", "inc", x="b-t.o")],
        [
            ("NodeReferenceNotFound", "b-t", "Referenced node [b-t] not found."),
            ("ParameterNotBound", "n1", "Parameter not bound [x]."),
        ],
    ),
}


def problems_of(error: pytest.ExceptionInfo[CompileErrors]) -> list[tuple[str, str, str]]:
    return [tuple(problem) for problem in error.value.problems]


@pytest.mark.parametrize(("nodes", "problems"), NODES.values(), ids=NODES)
def test_nodes(nodes: list[workflow_pb2.Node], problems: list[tuple[str, str, str]]) -> None:
    with pytest.raises(CompileErrors) as error:
        compiled(a_workflow(*nodes, inputs={"x": "int"}))
    assert problems_of(error) == problems


# What is wrong: the workflow around the nodes, and its sub-workflows.
INNER = a_workflow(a_node("n0", "inc", x=".x"), name="sub", inputs={"x": "int"}, outputs={"o": ("int", "n0.o")})
BROKEN = a_workflow(a_node("n0", "inc", x="a"), name="sub")
BARE = workflow_pb2.WorkflowTemplate(id=workflow_id("sub"), nodes=[a_node("n0", "noop")])
NO_TYPE = a_workflow(a_node("n0", "noop"))
NO_TYPE.interface.inputs.variables["x"].SetInParent()
NO_NAME = a_workflow(a_node("n0", "noop"), inputs={"": "int"})
FAILING = a_workflow(a_node("n0", "noop"))
FAILING.failure_node.MergeFrom(a_node("fn", "inc", x="a"))
UNASKED = a_workflow(a_node("n0", "noop"))
UNASKED.outputs.add(var="zz", binding=bound(1))

WORKFLOWS: dict[
    str,
    tuple[workflow_pb2.WorkflowTemplate, list[workflow_pb2.WorkflowTemplate], list[tuple[str, str, str]]],
] = {
    "no nodes": (a_workflow(), [], [("NoNodesFound", WF, f"Can't find any nodes in workflow [{WF}].")]),
    "a variable without type": (NO_TYPE, [], [("ValueRequired", "start-node", "Value required [param.Type].")]),
    "a variable without name": (NO_NAME, [], [("ValueRequired", "start-node", "Value required [paramName].")]),
    "an output of another type": (
        a_workflow(a_node("n0", "inc", x=1), outputs={"r": ("str", "n0.o")}),
        [],
        [("MismatchingTypes", "end-node", MISMATCH.format("o", INT, "r", STR))],
    ),
    "an output that is not declared": (
        UNASKED,
        [],
        [("VariableNameNotFound", "end-node", "Variable [zz] not found on node [end-node].")],
    ),
    "a failure node": (FAILING, [], [("MismatchingTypes", "fn", WRONG_KIND.format("x", STR, INT))]),
    "a sub-workflow's input": (
        a_workflow(sub_node()),
        [INNER],
        [("ParameterNotBound", "s", "Parameter not bound [x].")],
    ),
    "a sub-workflow's inside": (
        a_workflow(sub_node()),
        [BROKEN],
        [("MismatchingTypes", "n0", WRONG_KIND.format("x", STR, INT))],
    ),
    "a sub-workflow without interface": (
        a_workflow(sub_node()),
        [BARE],
        [("ValueRequired", "s", "Value required [WorkflowNode.Template.Interface].")],
    ),
    "two sub-workflows of one name": (
        a_workflow(a_node("n0", "noop")),
        [INNER, INNER],
        [("DuplicateId", SUB, "Trying to insert two nodes with the same id.")],
    ),
    "a sub-workflow in itself": (
        a_workflow(sub_node()),
        [a_workflow(sub_node(), name="sub")],
        [
            (
                "CycleDetected",
                "start-node",
                f"A cycle has been detected while traversing the Workflow [{SUB}>{SUB}].",
            )
        ],
    ),
}


@pytest.mark.parametrize(("template", "sub_workflows", "problems"), WORKFLOWS.values(), ids=WORKFLOWS)
def test_workflows(
    template: workflow_pb2.WorkflowTemplate,
    sub_workflows: list[workflow_pb2.WorkflowTemplate],
    problems: list[tuple[str, str, str]],
) -> None:
    with pytest.raises(CompileErrors) as error:
        compiled(template, *sub_workflows)
    assert problems_of(error) == problems


def plan_node(**inputs: object) -> workflow_pb2.Node:
    made = a_node("l", **inputs)
    made.workflow_node.launchplan_ref.CopyFrom(PLAN)
    return made


def plan(outputs: dict[str, str] | None, **required: bool) -> LaunchPlanInterface:
    """A launch plan whose inputs are numbers, required or with a default."""
    expected = interface_pb2.ParameterMap()
    for name, needed in required.items():
        expected.parameters[name].var.type.CopyFrom(a_type("int"))
        if needed:
            expected.parameters[name].required = True
        else:
            expected.parameters[name].default.scalar.primitive.integer = 1
    return LaunchPlanInterface(
        PLAN, expected if required else None, variables(outputs) if outputs is not None else None
    )


@pytest.mark.parametrize(
    ("node", "plans", "problems"),
    [
        (
            plan_node(),
            [],
            [
                (
                    "WorkflowReferenceNotFound",
                    "start-node",
                    'Referenced Workflow [resource_type:LAUNCH_PLAN project:"p" domain:"d" name:"plan" version:"v"] '
                    "not found.",
                )
            ],
        ),
        (plan_node(), [plan({}, a=True)], [("ParameterNotBound", "l", "Parameter not bound [a].")]),
        (
            plan_node(a="word"),
            [plan({}, a=False)],
            [("MismatchingTypes", "l", WRONG_KIND.format("a", STR, INT))],
        ),
        (
            plan_node(fixed=1),
            [plan({}, a=False)],
            [("VariableNameNotFound", "l", "Variable [fixed] not found on node [l].")],
        ),
        (
            plan_node(),
            [plan(None)],
            [
                ("ValueRequired", "l", "Value required [WorkflowNode.ExpectedInputs]."),
                ("ValueRequired", "l", "Value required [WorkflowNode.ExpectedOutputs]."),
            ],
        ),
    ],
    ids=["not there", "required", "of another type", "fixed", "without interface"],
)
def test_launch_plans(
    node: workflow_pb2.Node, plans: list[LaunchPlanInterface], problems: list[tuple[str, str, str]]
) -> None:
    with pytest.raises(CompileErrors) as error:
        compile_workflow(a_workflow(node), [], TASKS, plans)
    assert problems_of(error) == problems


def test_a_task_without_id() -> None:
    nameless = TASKS[0].__class__.FromString(TASKS[0].SerializeToString())
    nameless.template.ClearField("id")
    with pytest.raises(CompileErrors) as error:
        compile_workflow(a_workflow(a_node("n0", "noop")), [], [nameless], [])
    assert problems_of(error) == [("ValueRequired", "task", "Value required [Template.Id].")]


def test_the_block_is_sorted_and_tells_each_problem_once() -> None:
    first, second = a_node("n1", "inc", x="a"), a_node("n0", "add")
    with pytest.raises(CompileErrors) as error:
        compiled(a_workflow(first, second, sub_node()), BROKEN)
    assert str(error.value) == (
        "Collected Errors: 4\n"
        "\tError 0: Code: MismatchingTypes, Node Id: n0, "
        "Description: Variable [x] (type [simple:STRING]) doesn't match expected type [simple:INTEGER].\n"
        "\tError 1: Code: MismatchingTypes, Node Id: n1, "
        "Description: Variable [x] (type [simple:STRING]) doesn't match expected type [simple:INTEGER].\n"
        "\tError 2: Code: ParameterNotBound, Node Id: n0, Description: Parameter not bound [a].\n"
        "\tError 3: Code: ParameterNotBound, Node Id: n0, Description: Parameter not bound [b].\n"
    )
    assert error.value.problems[0] == CompileProblem("MismatchingTypes", "n0", WRONG_KIND.format("x", STR, INT))


def test_no_problem_at_all_is_a_block_too() -> None:
    assert str(CompileErrors(set())) == "Collected Errors: 0\n"


FINE_NODES = {
    "an optional input may stay unbound": [a_node("n0", "maybe")],
    "a union of other than simple types counts as optional": [a_node("n0", "either")],
    "an empty list": [a_node("n0", "total", xs=[])],
    "a list with a promise in it": [a_node("n0", "inc", x=1), a_node("n1", "total", xs=["n0.o", 3])],
    "an element of a list": [a_node("n0", "seq", n=1), a_node("n1", "inc", x="n0.[0].o")],
    "a field of a class": [a_node("n0", "point"), promising("x")],
    "a colour of the set": [a_node("n0", "paint", c="red")],
    "a colour of the set, where there may be none": [a_node("n0", "maybe_paint", c="red")],
    "a colour is a string": [a_node("n0", "paint", c="red"), a_node("n1", "say", s="n0.o")],
    "an alias": [aliased(("o", "a")), a_node("n1", "inc", x="n0.a")],
    "a branch": [branch(FINE)],
    "a branch on whether there is a value": [branch(comparing(X, NOTHING))],
    "a branch on whether there is none": [branch(comparing(X, NOTHING).replace("EQ", "NEQ"))],
    "a map of single values": [a_node("n0", "seq", n=1), mapped("inc", x="n0.o"), a_node("n2", "total", xs="n1.o")],
    "a map with a bound input": [a_node("n0", "seq", n=1), mapped("add", "b", a="n0.o", b=1)],
    "a name with something before it": [a_node("n0", "inc", x=".-x")],
}


@pytest.mark.parametrize("nodes", FINE_NODES.values(), ids=FINE_NODES)
def test_nothing_is_wrong(nodes: list[workflow_pb2.Node]) -> None:
    check_compiled(compiled(a_workflow(*nodes, inputs={"x": "int"})).primary)
