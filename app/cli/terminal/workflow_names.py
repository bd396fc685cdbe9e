"""Names in a compiled workflow: the task, workflow, launch plan or signal of each node, and the approvals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Named:
    """The entity that a node runs.

    Attributes:
        name: The name of the task, workflow, launch plan or signal; "" for a branch.
        kind: `task`, `workflow`, `launch plan`, `gate`, `branch` or `map`; "" while unknown.
        workflow: The key of its sub-workflow.
    """

    name: str = ""
    kind: str = ""
    workflow: str = ""


_UNKNOWN = Named()


@dataclass(slots=True)
class NodeNames:
    """The nodes of one workflow by their id.

    Attributes:
        top: The nodes at the top, in the order of the workflow.
        nested: The nodes inside of branches.
        workflows: The nodes of the sub-workflows, by the key of the workflow.
    """

    top: dict[str, Named] = field(default_factory=dict)
    nested: dict[str, Named] = field(default_factory=dict)
    workflows: dict[str, NodeNames] = field(default_factory=dict)

    def of(self, spec_id: str) -> Named:
        """Return the entity that a node runs."""
        return self.top.get(spec_id) or self.nested.get(spec_id) or _UNKNOWN

    def below(self, spec_id: str) -> NodeNames | None:
        """Return the names of the nodes below a node; None for a task, whose nodes it makes itself."""
        named = self.of(spec_id)
        if named.kind == "workflow":
            return self.workflows.get(named.workflow, NodeNames())
        return self if named.kind == "branch" else None


def names_in(compiled: Mapping[str, Any]) -> NodeNames:
    """Return the names of the nodes of a compiled workflow, as JSON of the API."""
    workflows: dict[str, NodeNames] = {}
    for one in compiled.get("sub_workflows") or []:
        template = one.get("template") or {}
        workflows[_key(template.get("id") or {})] = _names(template, workflows)
    return _names((compiled.get("primary") or {}).get("template") or {}, workflows)


def approvals_in(compiled: Mapping[str, Any]) -> set[str]:
    """Return the signals of the gates that flytekit's `approve` makes, of a compiled workflow as JSON of the API.

    The signal of an approval has the same type as that of `wait_for_input` with a bool: only the gates differ.
    """
    graphs = [compiled.get("primary") or {}, *(compiled.get("sub_workflows") or [])]
    nodes = [node for graph in graphs for node in (graph.get("template") or {}).get("nodes") or []]
    nodes += [inner for node in nodes for inner in _in_branches(node)]
    return {str(approval.get("signal_id") or "") for approval in map(_approval, nodes) if approval}


def _approval(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return (node.get("gate_node") or {}).get("approve") or {}


def _names(template: Mapping[str, Any], workflows: dict[str, NodeNames]) -> NodeNames:
    names = NodeNames(workflows=workflows)
    for node in template.get("nodes") or []:
        names.top[node["id"]] = _named(node)
        for inner in _in_branches(node):
            names.nested[inner["id"]] = _named(inner)
    return names


def _in_branches(node: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Yield the nodes of the cases of a branch, also of branches inside of it."""
    cases = (node.get("branch_node") or {}).get("if_else") or {}
    blocks = [cases.get("case") or {}, *(cases.get("other") or [])]
    for inner in (*(block.get("then_node") for block in blocks), cases.get("else_node")):
        if inner:
            yield inner
            yield from _in_branches(inner)


def _named(node: Mapping[str, Any]) -> Named:
    if task := node.get("task_node"):
        return Named((task.get("reference_id") or {}).get("name") or "", "task")
    if workflow := node.get("workflow_node"):
        if plan := workflow.get("launchplan_ref"):
            return Named(plan.get("name") or "", "launch plan")
        id = workflow.get("sub_workflow_ref") or {}
        return Named(id.get("name") or "", "workflow", _key(id))
    if gate := node.get("gate_node"):
        for condition in ("approve", "signal"):
            if gate.get(condition):
                return Named(gate[condition].get("signal_id") or "", "gate")
        return Named("sleep", "sleep")
    if array := node.get("array_node"):
        return Named(_named(array.get("node") or {}).name, "map")
    return Named("", "branch") if node.get("branch_node") else _UNKNOWN


def _key(id: Mapping[str, Any]) -> str:
    return "/".join(str(id.get(part) or "") for part in ("project", "domain", "name", "version"))
