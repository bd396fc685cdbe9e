"""Small tasks and workflows, written down shortly."""

from __future__ import annotations

from flyteidl.core import compiler_pb2, identifier_pb2, interface_pb2, literals_pb2, tasks_pb2, types_pb2, workflow_pb2
from google.protobuf import text_format

from app.compiler import compile_workflow

SIMPLE = {"int": types_pb2.INTEGER, "str": types_pb2.STRING, "float": types_pb2.FLOAT, "none": types_pb2.NONE}


def an_id(kind: int, name: str) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(resource_type=kind, project="p", domain="d", name=name, version="v")


def task_id(name: str) -> identifier_pb2.Identifier:
    return an_id(identifier_pb2.TASK, name)


def workflow_id(name: str) -> identifier_pb2.Identifier:
    return an_id(identifier_pb2.WORKFLOW, name)


def a_type(written: str) -> types_pb2.LiteralType:
    """`int`, `[int]`, `{int}`, `int|str`, `enum:a,b`, or the text form of a LiteralType."""
    if written in SIMPLE:
        return types_pb2.LiteralType(simple=SIMPLE[written])
    if "|" in written:
        return types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=map(a_type, written.split("|"))))
    if written.startswith("enum:"):
        return types_pb2.LiteralType(enum_type=types_pb2.EnumType(values=written[5:].split(",")))
    if written.startswith("["):
        return types_pb2.LiteralType(collection_type=a_type(written[1:-1]))
    if written.startswith("{"):
        return types_pb2.LiteralType(map_value_type=a_type(written[1:-1]))
    return text_format.Parse(written, types_pb2.LiteralType())


def variables(names: dict[str, str]) -> interface_pb2.VariableMap:
    made = interface_pb2.VariableMap()
    for name, written in names.items():
        made.variables[name].type.CopyFrom(a_type(written))
    return made


def a_task(name: str, inputs: dict[str, str], outputs: dict[str, str]) -> compiler_pb2.CompiledTask:
    interface = interface_pb2.TypedInterface(inputs=variables(inputs), outputs=variables(outputs))
    template = tasks_pb2.TaskTemplate(id=task_id(name), type="python-task", interface=interface)
    return compiler_pb2.CompiledTask(template=template)


def bound(written: str | int | list[object] | dict[str, object]) -> literals_pb2.BindingData:
    """A number is itself, `n0.o` reads an output, `.a` an input of the workflow, any other text is itself."""
    data = literals_pb2.BindingData()
    if isinstance(written, list):
        data.collection.bindings.extend(map(bound, written))
        data.collection.SetInParent()
    elif isinstance(written, dict):
        data.map.SetInParent()
        for key, value in written.items():
            data.map.bindings[key].CopyFrom(bound(value))
    elif isinstance(written, int):
        data.scalar.primitive.integer = written
    elif "." in written:
        node, _, variable = written.partition(".")
        data.promise.node_id, data.promise.var = node, variable
    else:
        data.scalar.primitive.string_value = written
    return data


def a_node(id: str, task: str | None = None, after: tuple[str, ...] = (), **inputs: object) -> workflow_pb2.Node:
    node = workflow_pb2.Node(id=id, upstream_node_ids=after)
    if task is not None:
        node.task_node.reference_id.CopyFrom(task_id(task))
    for name, written in inputs.items():
        node.inputs.add(var=name, binding=bound(written))
    return node


def a_workflow(
    *nodes: workflow_pb2.Node,
    name: str = "wf",
    inputs: dict[str, str] | None = None,
    outputs: dict[str, tuple[str, str]] | None = None,
) -> workflow_pb2.WorkflowTemplate:
    """outputs: name → (type, what is bound to it)"""
    made = workflow_pb2.WorkflowTemplate(id=workflow_id(name), nodes=nodes)
    made.interface.inputs.CopyFrom(variables(inputs or {}))
    for output, (written, source) in (outputs or {}).items():
        made.interface.outputs.variables[output].type.CopyFrom(a_type(written))
        made.outputs.add(var=output, binding=bound(source))
    return made


TASKS = [
    a_task("inc", {"x": "int"}, {"o": "int"}),
    a_task("add", {"a": "int", "b": "int"}, {"o": "int"}),
    a_task("say", {"s": "str"}, {"o": "str"}),
    a_task("noop", {}, {}),
    a_task("seq", {"n": "int"}, {"o": "[int]"}),
    a_task("total", {"xs": "[int]"}, {"o": "int"}),
    a_task("paint", {"c": "enum:red,green"}, {"o": "enum:red,green"}),
    a_task("either", {"v": "[int]|[str]"}, {}),
    a_task("maybe", {"v": "int|none"}, {}),
    a_task("maybe_paint", {"c": "enum:red,green|none"}, {}),
    a_task("file", {"f": "blob {}"}, {"o": "blob {}"}),
    a_task(
        "point",
        {},
        {"o": "simple: STRUCT structure { dataclass_type { key: 'x' value { simple: INTEGER } } }"},
    ),
]


def compiled(
    template: workflow_pb2.WorkflowTemplate, *sub_workflows: workflow_pb2.WorkflowTemplate
) -> compiler_pb2.CompiledWorkflowClosure:
    """Compile with all the tasks above and no launch plans."""
    return compile_workflow(template, sub_workflows, TASKS, [])
