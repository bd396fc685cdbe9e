"""The problems of a workflow or task, and the error that reports all of them.

A compilation collects all problems, then raises `CompileErrors`. Its text is shown to clients:

    Collected Errors: 2
        Error 0: Code: MismatchingTypes, Node Id: n1, Description: …
        Error 1: Code: ParameterNotBound, Node Id: n0, Description: …

The texts are those of upstream's package compiler/errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from google.protobuf.message import DecodeError, Message

from app.errors import MESSAGE_BYTES_MAX


class CompileProblem(NamedTuple):
    """One problem; equal problems are reported once."""

    code: str
    node: str
    description: str

    def __str__(self) -> str:
        return f"Code: {self.code}, Node Id: {self.node}, Description: {self.description}"


class CompileErrors(Exception):
    """The workflow or task does not compile; `str()` returns all problems, sorted."""

    def __init__(self, problems: frozenset[CompileProblem] | set[CompileProblem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.code, str(problem))))
        super().__init__(self.problems)

    def __str__(self) -> str:
        lines = [f"\tError {number}: {problem}\n" for number, problem in enumerate(self.problems)]
        return f"Collected Errors: {len(self.problems)}\n{''.join(lines)}"


class Problems:
    """Collects problems.

    Attributes:
        found: The problems.
        count: The number of reports, also of equal problems. Callers compare it to detect new reports.
    """

    def __init__(self) -> None:
        self.found: set[CompileProblem] = set()
        self.count = 0

    def add(self, code: str, node: str, description: str) -> None:
        """Report a problem at a node. The description is cut at the length of an error message."""
        self.count += 1
        self.found.add(CompileProblem(code, node, description[:MESSAGE_BYTES_MAX]))

    def raise_any(self) -> None:
        """Raise CompileErrors if a problem was reported."""
        if self.found:
            raise CompileErrors(self.found)

    def check_depth(self, node: str, build: Callable[[], Message]) -> None:
        """Report a message that nests too deeply for protobuf parsers. `build` returns it inside its deepest reply."""
        try:
            reply = build()
            type(reply).FromString(reply.SerializeToString())
        except DecodeError:
            self.too_large(node, "The messages are nested too deep to be read back.")

    def value_required(self, node: str, name: str) -> None:
        """Report a value that is missing."""
        self.add("ValueRequired", node, f"Value required [{name}].")

    def not_bound(self, node: str, name: str) -> None:
        """Report an input without a binding."""
        self.add("ParameterNotBound", node, f"Parameter not bound [{name}].")

    def no_variable(self, node: str, name: str) -> None:
        """Report a variable that the node does not have."""
        self.add("VariableNameNotFound", node, f"Variable [{name}] not found on node [{node}].")

    def no_task(self, node: str, identifier: str) -> None:
        """Report a task that does not exist."""
        self.add("TaskReferenceNotFound", node, f"Referenced Task [{identifier}] not found.")

    def no_workflow(self, node: str, identifier: str) -> None:
        """Report a workflow or launch plan that does not exist."""
        self.add("WorkflowReferenceNotFound", node, f"Referenced Workflow [{identifier}] not found.")

    def cycle(self, node: str, path: list[str]) -> None:
        """Report a cycle of nodes or sub-workflows."""
        self.add("CycleDetected", node, f"A cycle has been detected while traversing the Workflow [{'>'.join(path)}].")

    def too_large(self, node: str, what: str) -> None:
        """Report a limit of this compiler."""
        # Deviates: upstream has no such limit and spends unbounded time or stack instead.
        self.add("WorkflowBuildError", node, what)

    def mismatching_types(self, node: str, name: str, have: str, want: str) -> None:
        """Report a variable of another type."""
        self.add("MismatchingTypes", node, f"Variable [{name}] (type [{have}]) doesn't match expected type [{want}].")

    def mismatching_bindings(self, node: str, name: str, want: str, received: str) -> None:
        """Report a binding of another type."""
        self.add(
            "MismatchingBindings",
            node,
            f"Input [{name}] on node [{node}] expects bindings of type [{want}].  Received [{received}]",
        )
