"""Conditions of branch nodes, against Python's own comparisons and for everything that is no comparison."""

from __future__ import annotations

import operator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flyteidl.core import condition_pb2, literals_pb2, workflow_pb2
from hypothesis import given
from hypothesis import strategies as st

from app.engine.local.nodes.conditions import BranchError, choose, holds
from tests.engine.conftest import literal, literal_map

OPERATORS = {
    "EQ": operator.eq,
    "NEQ": operator.ne,
    "GT": operator.gt,
    "GTE": operator.ge,
    "LT": operator.lt,
    "LTE": operator.le,
}
NO_INPUTS = literals_pb2.LiteralMap()


def primitive(value: Any) -> literals_pb2.Primitive:
    if isinstance(value, datetime):
        result = literals_pb2.Primitive()
        result.datetime.FromDatetime(value)
        return result
    if isinstance(value, timedelta):
        result = literals_pb2.Primitive()
        result.duration.FromTimedelta(value)
        return result
    return literal(value).scalar.primitive


def comparison(left: Any, name: str, right: Any) -> condition_pb2.BooleanExpression:
    """A comparison of values; a string that begins with $ is the name of a variable."""
    expression = condition_pb2.BooleanExpression()
    for operand, value in ((expression.comparison.left_value, left), (expression.comparison.right_value, right)):
        if isinstance(value, str) and value.startswith("$"):
            operand.var = value[1:]
        elif value is None:
            operand.scalar.none_type.SetInParent()
        else:
            operand.primitive.CopyFrom(primitive(value))
    expression.comparison.operator = condition_pb2.ComparisonExpression.Operator.Value(name)
    return expression


def both(
    name: str, left: condition_pb2.BooleanExpression, right: condition_pb2.BooleanExpression
) -> condition_pb2.BooleanExpression:
    expression = condition_pb2.BooleanExpression()
    expression.conjunction.operator = condition_pb2.ConjunctionExpression.LogicalOperator.Value(name)
    expression.conjunction.left_expression.CopyFrom(left)
    expression.conjunction.right_expression.CopyFrom(right)
    return expression


whole_seconds = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
pairs = st.one_of(
    *(
        st.tuples(kind, kind)
        for kind in (
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False),
            st.text().filter(lambda text: not text.startswith("$")),
            whole_seconds,
            st.integers(-(10**6), 10**6).map(lambda seconds: timedelta(seconds=seconds)),
        )
    )
)


@given(pair=pairs, name=st.sampled_from(sorted(OPERATORS)))
def test_ordered_values_compare_as_in_python(pair: tuple[Any, Any], name: str) -> None:
    assert holds(comparison(pair[0], name, pair[1]), NO_INPUTS) == OPERATORS[name](*pair)


@given(left=st.booleans(), right=st.booleans(), name=st.sampled_from(["EQ", "NEQ"]))
def test_booleans_are_equal_or_not(left: bool, right: bool, name: str) -> None:
    assert holds(comparison(left, name, right), NO_INPUTS) == OPERATORS[name](left, right)


@given(name=st.sampled_from(sorted(OPERATORS)), below=st.integers(0, 999_999), above=st.integers(0, 999_999))
def test_of_times_only_whole_seconds_count(name: str, below: int, above: int) -> None:
    times = [datetime(2024, 1, 1, 0, 0, 7, micro, tzinfo=UTC) for micro in (below, above)]
    assert holds(comparison(times[0], name, times[1]), NO_INPUTS) == OPERATORS[name](7, 7)


@given(left=st.booleans(), right=st.booleans())
def test_conjunctions(left: bool, right: bool) -> None:
    sides = [comparison(side, "EQ", True) for side in (left, right)]
    assert holds(both("AND", *sides), NO_INPUTS) == (left and right)
    assert holds(both("OR", *sides), NO_INPUTS) == (left or right)


def test_variables_are_inputs_of_the_node() -> None:
    inputs = literal_map({"n0.o0": 3, ".x": 4})
    assert holds(comparison("$n0.o0", "LT", "$.x"), inputs)
    assert holds(comparison(3, "EQ", "$n0.o0"), inputs)


UNION = literals_pb2.Literal()
UNION.scalar.union.value.CopyFrom(literal(3))
UNION_OF_NONE = literals_pb2.Literal()
UNION_OF_NONE.scalar.union.value.CopyFrom(literal(None))
INPUTS = {"n": 3, "f": 3.0, "none": None, "list": [3], "map": {}, "union": UNION, "b": True, "nothing": UNION_OF_NONE}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("value", "is_none"),
    [
        *(("$n", False), ("$list", False), ("$map", False), ("$union", False), (0, False)),
        *(("$none", True), ("$nothing", True), (None, True)),
    ],
)
def test_a_value_is_nothing_or_not(value: Any, is_none: bool, swapped: bool) -> None:
    left, right = (None, value) if swapped else (value, None)
    assert holds(comparison(left, "EQ", right), literal_map(INPUTS)) is is_none
    assert holds(comparison(left, "NEQ", right), literal_map(INPUTS)) is not is_none


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (comparison("$missing", "EQ", 3), "Failed to find Value for Variable [missing]"),
        (comparison(3, "EQ", "$missing"), "Failed to find Value for Variable [missing]"),
        (comparison("$none", "EQ", 3), "Only primitives can be compared. LHS Variable is non primitive."),
        (comparison("$list", "EQ", 3), "Only primitives can be compared. LHS Variable is non primitive."),
        (comparison("$union", "EQ", 3), "Only primitives can be compared. LHS Variable is non primitive."),
        (comparison(3, "EQ", "$list"), "Only primitives can be compared. RHS Variable is non primitive."),
        (
            comparison("$n", "EQ", "$f"),
            "Comparison between different primitives types. lVal[*core.Primitive_Integer]:"
            "rVal[*core.Primitive_FloatValue]",
        ),
        (comparison("$missing", "EQ", None), "Failed to find Value for Variable [missing]"),
        (comparison("$none", "GT", None), "[GT] not defined for none operands."),
        (comparison("$b", "GT", False), "[GT] not defined for boolean operands."),
        (comparison("$b", "LTE", False), "[LTE] not defined for boolean operands."),
        (
            condition_pb2.BooleanExpression(),
            "No Comparison or Conjunction found in Branch node expression.",
        ),
        # The right side is looked at even where the left decides.
        (
            both("OR", comparison(1, "EQ", 1), comparison("$missing", "EQ", 3)),
            "Failed to find Value for Variable [missing]",
        ),
    ],
)
def test_a_comparison_of_other_values_is_an_error_of_the_user(
    expression: condition_pb2.BooleanExpression, message: str
) -> None:
    with pytest.raises(BranchError) as raised:
        holds(expression, literal_map(INPUTS))
    assert raised.value.code == "MalformedBranchUserError"
    assert raised.value.message == f"[MalformedBranchUserError] {message}"


def block(*conditions: bool, otherwise: str = "") -> workflow_pb2.IfElseBlock:
    result = workflow_pb2.IfElseBlock()
    for index, condition in enumerate(conditions):
        one = result.case if index == 0 else result.other.add()
        one.condition.CopyFrom(comparison(condition, "EQ", True))
        one.then_node.id = f"then{index}"
    if otherwise == "node":
        result.else_node.id = "else"
    elif otherwise:
        result.error.message = otherwise
    return result


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_the_first_condition_that_holds_decides(conditions: list[bool]) -> None:
    chosen = choose(block(*conditions, otherwise="node"), NO_INPUTS).id
    assert chosen == (f"then{conditions.index(True)}" if True in conditions else "else")


@pytest.mark.parametrize(
    ("otherwise", "code", "message"),
    [
        ("too small", "UserProvidedError", "[UserProvidedError] too small"),
        ("", "MalformedBranchUserError", "[MalformedBranchUserError] No branch satisfied"),
    ],
)
def test_where_no_condition_holds(otherwise: str, code: str, message: str) -> None:
    with pytest.raises(BranchError) as raised:
        choose(block(False, False, otherwise=otherwise), NO_INPUTS)
    assert (raised.value.code, raised.value.message) == (code, message)
