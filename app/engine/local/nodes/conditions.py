"""Evaluate the conditions of branch nodes and choose the node that runs.

Proto: core.IfElseBlock, core.BooleanExpression. Source: flytepropeller pkg/controller/nodes/branch (evaluator.go,
comparator.go).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from flyteidl.core import condition_pb2, literals_pb2, workflow_pb2

MALFORMED, USER_PROVIDED = "MalformedBranchUserError", "UserProvidedError"

_Operator = condition_pb2.ComparisonExpression
_COMPARE: dict[int, Callable[[Any, Any], bool]] = {
    _Operator.EQ: operator.eq,
    _Operator.NEQ: operator.ne,
    _Operator.GT: operator.gt,
    _Operator.GTE: operator.ge,
    _Operator.LT: operator.lt,
    _Operator.LTE: operator.le,
}
_ORDERED = (_Operator.GT, _Operator.GTE, _Operator.LT, _Operator.LTE)
# Go's names of the members of the oneof, for messages.
_GO_NAMES = {
    "integer": "Integer",
    "float_value": "FloatValue",
    "string_value": "StringValue",
    "boolean": "Boolean",
    "datetime": "Datetime",
    "duration": "Duration",
}


class BranchError(Exception):
    """No node can be chosen, or the chosen case is a failure. Code and message are those of the node's error."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = f"[{code}] {message}"
        super().__init__(self.message)


def choose(block: workflow_pb2.IfElseBlock, inputs: literals_pb2.LiteralMap) -> workflow_pb2.Node:
    """Return the node of the first condition that holds, else the node of the `else` case.

    Raises:
        BranchError: No condition holds and there is no `else` case, or a condition cannot be evaluated.
    """
    for one in (block.case, *block.other):
        if holds(one.condition, inputs):
            node: workflow_pb2.Node = one.then_node
            return node
    default = block.WhichOneof("default")
    if default == "else_node":
        otherwise: workflow_pb2.Node = block.else_node
        return otherwise
    if default == "error":
        raise BranchError(USER_PROVIDED, block.error.message)
    raise BranchError(MALFORMED, "No branch satisfied")


def holds(expression: condition_pb2.BooleanExpression, inputs: literals_pb2.LiteralMap) -> bool:
    """Return whether a condition holds.

    Raises:
        BranchError: The condition cannot be evaluated.
    """
    kind = expression.WhichOneof("expr")
    if kind == "comparison":
        return _compare(expression.comparison, inputs)
    if kind != "conjunction":
        raise BranchError(MALFORMED, "No Comparison or Conjunction found in Branch node expression.")
    # Parity: both sides are evaluated, so an error on the right is raised even where the left decides.
    left = holds(expression.conjunction.left_expression, inputs)
    right = holds(expression.conjunction.right_expression, inputs)
    if expression.conjunction.operator == condition_pb2.ConjunctionExpression.OR:
        return left or right
    return left and right


def _compare(comparison: condition_pb2.ComparisonExpression, inputs: literals_pb2.LiteralMap) -> bool:
    operands = (comparison.left_value, comparison.right_value)
    if any(operand.scalar.HasField("none_type") for operand in operands):
        return _compare_with_none(comparison, inputs)
    left = _primitive(comparison.left_value, inputs, "LHS")
    right = _primitive(comparison.right_value, inputs, "RHS")
    kinds = left.WhichOneof("value"), right.WhichOneof("value")
    if kinds[0] != kinds[1] or kinds[0] is None:
        shown = [f"*core.Primitive_{_GO_NAMES[kind]}" if kind else "<nil>" for kind in kinds]
        raise BranchError(
            MALFORMED, f"Comparison between different primitives types. lVal[{shown[0]}]:rVal[{shown[1]}]"
        )
    compare = _COMPARE.get(comparison.operator)
    if compare is None:
        raise BranchError(MALFORMED, "Unsupported operator type in Propeller. System error.")
    if kinds[0] == "boolean" and comparison.operator in _ORDERED:
        name = _Operator.Operator.Name(comparison.operator)
        raise BranchError(MALFORMED, f"[{name}] not defined for boolean operands.")
    values = [getattr(side, kinds[0]) for side in (left, right)]
    if kinds[0] in ("datetime", "duration"):
        # Parity: only whole seconds count.
        values = [value.seconds for value in values]
    return bool(compare(*values))


def _compare_with_none(comparison: condition_pb2.ComparisonExpression, inputs: literals_pb2.LiteralMap) -> bool:
    """Return how a comparison with "nothing" ends: flytekit's `Promise.is_none()`, or `!= None`.

    Deviates: upstream compares primitives alone.

    Raises:
        BranchError: For an operator that is neither == nor !=, or a variable without a value.
    """
    if comparison.operator not in (_Operator.EQ, _Operator.NEQ):
        name = _Operator.Operator.Name(comparison.operator)
        raise BranchError(MALFORMED, f"[{name}] not defined for none operands.")
    left, right = (_is_none(operand, inputs) for operand in (comparison.left_value, comparison.right_value))
    return _COMPARE[comparison.operator](left, right)


def _is_none(operand: condition_pb2.Operand, inputs: literals_pb2.LiteralMap) -> bool:
    if operand.WhichOneof("val") == "primitive":
        return False
    scalar = _scalar(operand, inputs)
    # The scalar of a union, such as Optional[int], contains the scalar of one of its variants.
    while scalar.WhichOneof("value") == "union":
        scalar = scalar.union.value.scalar
    return bool(scalar.HasField("none_type"))


def _scalar(operand: condition_pb2.Operand, inputs: literals_pb2.LiteralMap) -> literals_pb2.Scalar:
    """Return the value of an operand that is no primitive; an empty scalar for a list or a map."""
    if operand.WhichOneof("val") == "scalar":
        return operand.scalar
    if operand.var not in inputs.literals:
        raise BranchError(MALFORMED, f"Failed to find Value for Variable [{operand.var}]")
    return inputs.literals[operand.var].scalar


def _primitive(operand: condition_pb2.Operand, inputs: literals_pb2.LiteralMap, side: str) -> literals_pb2.Primitive:
    """Return the value of one side of a comparison."""
    if operand.WhichOneof("val") == "primitive":
        return operand.primitive
    scalar = _scalar(operand, inputs)
    if scalar.WhichOneof("value") != "primitive":
        raise BranchError(MALFORMED, f"Only primitives can be compared. {side} Variable is non primitive.")
    return scalar.primitive
