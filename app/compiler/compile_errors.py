"""What can be wrong with a workflow or task, and the text that tells all of it at once.

A compilation collects every problem and then fails with `CompileErrors`, whose text is the block that clients read:

    Collected Errors: 2
        Error 0: Code: MismatchingTypes, Node Id: n1, Description: …
        Error 1: Code: ParameterNotBound, Node Id: n0, Description: …

Texts are those of upstream's compiler/errors package.
"""

from collections.abc import Callable
from typing import NamedTuple

from google.protobuf.message import DecodeError, Message

from app.errors import MESSAGE_BYTES_MAX


class Problem(NamedTuple):
    """One problem; equal ones are told once."""

    code: str
    node: str
    description: str

    def __str__(self) -> str:
        return f"Code: {self.code}, Node Id: {self.node}, Description: {self.description}"


class CompileErrors(Exception):
    """The workflow or task does not compile; `str()` is the block of all problems, sorted."""

    def __init__(self, problems: frozenset[Problem] | set[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.code, str(problem))))
        super().__init__(self.problems)

    def __str__(self) -> str:
        lines = [f"\tError {number}: {problem}\n" for number, problem in enumerate(self.problems)]
        return f"Collected Errors: {len(self.problems)}\n{''.join(lines)}"


class Problems:
    """Collects problems. `count` grows with every report, also of a known problem, so a caller can compare it."""

    def __init__(self) -> None:
        self.found: set[Problem] = set()
        self.count = 0

    def add(self, code: str, node: str, description: str) -> None:
        """Report a problem at a node; the description is cut where no client could read further."""
        self.count += 1
        self.found.add(Problem(code, node, description[:MESSAGE_BYTES_MAX]))

    def raise_any(self) -> None:
        """Fail if anything was reported."""
        if self.found:
            raise CompileErrors(self.found)

    def check_depth(self, node: str, build: Callable[[], Message]) -> None:
        """Report what nests too deep for protobuf libraries; `build` puts it where it will be deepest, into a list."""
        try:
            reply = build()
            type(reply).FromString(reply.SerializeToString())
        except DecodeError:
            self.too_large(node, "The messages are nested too deep to be read back.")

    def value_required(self, node: str, name: str) -> None:
        self.add("ValueRequired", node, f"Value required [{name}].")

    def not_bound(self, node: str, name: str) -> None:
        self.add("ParameterNotBound", node, f"Parameter not bound [{name}].")

    def no_variable(self, node: str, name: str) -> None:
        self.add("VariableNameNotFound", node, f"Variable [{name}] not found on node [{node}].")

    def no_task(self, node: str, identifier: str) -> None:
        self.add("TaskReferenceNotFound", node, f"Referenced Task [{identifier}] not found.")

    def no_workflow(self, node: str, identifier: str) -> None:
        self.add("WorkflowReferenceNotFound", node, f"Referenced Workflow [{identifier}] not found.")

    def cycle(self, node: str, path: list[str]) -> None:
        self.add("CycleDetected", node, f"A cycle has been detected while traversing the Workflow [{'>'.join(path)}].")

    def too_large(self, node: str, what: str) -> None:
        # Deviates: upstream has no such limit and spends unbounded time or stack instead.
        self.add("WorkflowBuildError", node, what)

    def mismatching_types(self, node: str, name: str, have: str, want: str) -> None:
        self.add("MismatchingTypes", node, f"Variable [{name}] (type [{have}]) doesn't match expected type [{want}].")

    def mismatching_bindings(self, node: str, name: str, want: str, received: str) -> None:
        self.add(
            "MismatchingBindings",
            node,
            f"Input [{name}] on node [{node}] expects bindings of type [{want}].  Received [{received}]",
        )
