"""The type that a literal has by itself, and the rules for inputs, with their texts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flyteidl.core import interface_pb2, literals_pb2, types_pb2
from google.protobuf import text_format

from app.compiler.inference import type_of
from app.compiler.literals import check_literals, check_parameters, check_signal, expected_inputs, merge_inputs
from app.errors import InvalidArgument
from app.wire.text import text
from tests.support.builders import accepted

Literal = literals_pb2.Literal


def lit(written: str) -> Literal:
    return text_format.Parse(written, Literal())


def kind(written: str) -> types_pb2.LiteralType:
    return text_format.Parse(written, types_pb2.LiteralType())


def of(*elements: Literal) -> Literal:
    return Literal(collection=literals_pb2.LiteralCollection(literals=elements))


def named(**values: Literal) -> Literal:
    return Literal(map=literals_pb2.LiteralMap(literals=values))


ONE = lit("scalar { primitive { integer: 1 } }")
WORD = lit("scalar { primitive { string_value: 'a' } }")
NONE = lit("scalar { none_type {} }")
UNTYPED = lit("scalar { blob {} }")
LATE = lit("scalar { primitive { datetime { seconds: 253402300800 } } }")
NOON = lit("scalar { primitive { datetime { seconds: 43200 } } }")

TYPES = {
    "integer": (ONE, "simple:INTEGER"),
    "float": (lit("scalar { primitive { float_value: 1 } }"), "simple:FLOAT"),
    "string": (WORD, "simple:STRING"),
    "boolean": (lit("scalar { primitive { boolean: false } }"), "simple:BOOLEAN"),
    "datetime": (NOON, "simple:DATETIME"),
    "duration": (lit("scalar { primitive { duration {} } }"), "simple:DURATION"),
    "empty primitive": (lit("scalar { primitive {} }"), "simple:NONE"),
    "none": (NONE, "simple:NONE"),
    "error": (lit("scalar { error {} }"), "simple:ERROR"),
    "generic": (lit("scalar { generic {} }"), "simple:STRUCT"),
    "binary": (lit("scalar { binary { tag: 'other' } }"), "simple:BINARY"),
    "msgpack": (lit("scalar { binary { tag: 'msgpack' } }"), "simple:STRUCT"),
    "blob": (lit("scalar { blob { metadata { type { format: 'csv' } } } }"), 'blob:{format:"csv"}'),
    "blob without metadata": (UNTYPED, None),
    "blob without type": (lit("scalar { blob { metadata {} } }"), ""),
    "schema": (lit("scalar { schema { type { columns { name: 'a' } } } }"), 'schema:{columns:{name:"a"}}'),
    "schema without type": (lit("scalar { schema { uri: 'u' } }"), ""),
    "dataset": (
        lit("scalar { structured_dataset { metadata { structured_dataset_type { format: 'csv' } } } }"),
        'structured_dataset_type:{format:"csv"}',
    ),
    "dataset without metadata": (lit("scalar { structured_dataset { uri: 'u' } }"), ""),
    "union": (
        lit("scalar { union { type { simple: STRING } value { scalar { none_type {} } } } }"),
        "union_type:{variants:{simple:STRING}}",
    ),
    "empty scalar": (lit("scalar {}"), None),
    "nothing": (Literal(), None),
    "offloaded": (lit("offloaded_metadata { inferred_type { simple: FLOAT } }"), "simple:FLOAT"),
    "offloaded without type": (lit("offloaded_metadata { uri: 'u' }"), None),
    "empty list": (of(), "collection_type:{simple:NONE}"),
    "list": (of(ONE, ONE), "collection_type:{simple:INTEGER}"),
    "list of the same type by two ways": (
        of(ONE, lit("offloaded_metadata { inferred_type { simple: INTEGER } }")),
        "collection_type:{simple:INTEGER}",
    ),
    "list of two types": (
        of(WORD, ONE, WORD),
        "collection_type:{union_type:{variants:{simple:INTEGER} variants:{simple:STRING}}}",
    ),
    "list with something unknown": (of(UNTYPED), "collection_type:{}"),
    "list of an empty list": (of(of()), "collection_type:{collection_type:{simple:NONE}}"),
    "empty list beside another": (of(of(), of(ONE)), "collection_type:{collection_type:{simple:INTEGER}}"),
    "lists of two types": (
        of(of(ONE), of(WORD)),
        "collection_type:{union_type:{variants:{collection_type:{simple:INTEGER}} "
        "variants:{collection_type:{simple:STRING}}}}",
    ),
    "a list of a union beside a number": (
        of(of(ONE, WORD), ONE),
        "collection_type:{collection_type:{union_type:{variants:{simple:INTEGER} variants:{simple:STRING} "
        "variants:{simple:INTEGER}}}}",
    ),
    "empty map": (named(), "map_value_type:{simple:NONE}"),
    "map": (named(a=ONE, b=ONE), "map_value_type:{simple:INTEGER}"),
    "map of two types": (
        named(a=ONE, b=WORD),
        "map_value_type:{union_type:{variants:{simple:INTEGER} variants:{simple:STRING}}}",
    ),
    "an empty map says something": (
        named(a=named(), b=named(c=ONE)),
        "map_value_type:{union_type:{variants:{map_value_type:{simple:INTEGER}} "
        "variants:{map_value_type:{simple:NONE}}}}",
    ),
}


@pytest.mark.parametrize(("literal", "expected"), TYPES.values(), ids=TYPES)
def test_inferred_types(literal: Literal, expected: str | None) -> None:
    inferred = type_of(literal)
    assert (inferred if inferred is None else text(inferred)) == expected


def test_a_long_list_has_one_type() -> None:
    assert text(type_of(of(*[ONE] * 50_000))) == "collection_type:{simple:INTEGER}"


def refusal(check: Callable[[], object]) -> str:
    with pytest.raises(InvalidArgument) as refused:
        check()
    return refused.value.message


@pytest.mark.parametrize(
    ("literals", "message"),
    [
        ({"": ONE}, "missing key in inputs"),
        ({"x": Literal()}, "missing valid literal in inputs x"),
        ({"x": LATE}, "proto: timestamp (seconds:253402300800) after 9999-12-31"),
        (
            {"x": lit("scalar { primitive { datetime { seconds: -62135596801 } } }")},
            "proto: timestamp (seconds:-62135596801) before 0001-01-01",
        ),
        (
            {"x": lit("scalar { primitive { datetime { nanos: 1000000000 } } }")},
            "proto: timestamp (nanos:1000000000) has out-of-range nanos",
        ),
        # Upstream stops checking at the first datetime that is fine.
        ({"a": NOON, "b": Literal()}, "missing valid literal in inputs b"),
        ({"a": Literal(), "b": LATE}, "missing valid literal in inputs a"),
    ],
)
def test_bad_literals(literals: dict[str, Literal], message: str) -> None:
    assert refusal(lambda: check_literals(literals, "inputs")) == message


def test_good_literals() -> None:
    kinds = {"a": ONE, "b": NOON, "c": lit("offloaded_metadata {}"), "d": lit("scalar {}"), "e": of()}
    assert accepted(check_literals, {}, "inputs")
    assert accepted(check_literals, kinds, "inputs")


def parameter(written: str) -> interface_pb2.Parameter:
    return text_format.Parse(written, interface_pb2.Parameter())


UNKNOWN = (
    "Failed to validate literal type for [x] with err: got unknown literal type: [<nil>].\n"
    "Suggested solution: Please update all your Flyte deployment images to the latest version and try again"
)
INT, STR, TIME = (
    "var { type { simple: INTEGER } }",
    "var { type { simple: STRING } }",
    "var { type { simple: DATETIME } }",
)
DEFAULT_1, DEFAULT_A = (
    "default { scalar { primitive { integer: 1 } } }",
    "default { scalar { primitive { string_value: 'a' } } }",
)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"": f"{INT} required: true"}, "missing key in default_inputs"),
        (
            {"x": "required: true"},
            "The Variable component of the Parameter x in default_inputs either is missing, or has a missing Type",
        ),
        (
            {"x": "var { description: 'd' } required: true"},
            "The Variable component of the Parameter x in default_inputs either is missing, or has a missing Type",
        ),
        (
            {"x": INT},
            "Invalid variable x in default_inputs - variable has neither default, nor is required. "
            "One must be specified",
        ),
        (
            {"x": f"{INT} required: false"},
            "Invalid variable x in default_inputs - variable has neither default, nor is required. "
            "One must be specified",
        ),
        ({"x": f"{INT} default {{}}"}, UNKNOWN),
        (
            {"x": f"{INT} {DEFAULT_A}"},
            "Type mismatch for Parameter x in default_inputs has type simple:INTEGER, expected simple:STRING",
        ),
        (
            {"x": f"{TIME} default {{ scalar {{ primitive {{ datetime {{ seconds: 253402300800 }} }} }} }}"},
            "proto: timestamp (seconds:253402300800) after 9999-12-31",
        ),
        (
            {"x": f"{TIME} default {{ scalar {{ union {{ type {{ simple: DATETIME }} value {{}} }} }} }}"},
            "proto: invalid nil Timestamp",
        ),
        (
            {"a": "required: true", "x": f"{INT} artifact_query {{}}"},
            "artifact mode not enabled but query found default_inputs x",
        ),
    ],
)
def test_bad_parameters(parameters: dict[str, str], message: str) -> None:
    made = {name: parameter(written) for name, written in parameters.items()}
    assert refusal(lambda: check_parameters(made, "default_inputs")) == message


def test_good_parameters() -> None:
    assert accepted(
        check_parameters,
        {
            "a": parameter(f"{INT} {DEFAULT_1}"),
            "b": parameter(f"{STR} required: true"),
            "c": parameter(f"{TIME} default {{ scalar {{ primitive {{ datetime {{}} }} }} }}"),
        },
        "default_inputs",
    )


def workflow(**types: str) -> dict[str, interface_pb2.Variable]:
    return {
        name: interface_pb2.Variable(type=kind(written), description=f"about {name}") for name, written in types.items()
    }


@pytest.mark.parametrize(
    ("inputs", "fixed", "defaults", "message"),
    [
        ({}, {}, {"x": f"{INT} {DEFAULT_1}"}, "invalid launch plan default inputs, expected none but found 1"),
        ({}, {"x": ONE, "y": ONE}, {}, "invalid launch plan fixed inputs, expected none but found 2"),
        ({"x": "simple: INTEGER"}, {}, {"zz": f"{INT} {DEFAULT_1}"}, "unexpected default_input zz"),
        (
            {"x": "simple: INTEGER"},
            {},
            {"x": f"{STR} {DEFAULT_A}"},
            "invalid default_input wrong type x, expected simple:STRING, got simple:INTEGER instead",
        ),
        ({"x": "simple: INTEGER"}, {"zz": ONE}, {}, "unexpected fixed_input zz"),
        (
            {"x": "simple: INTEGER"},
            {"x": WORD},
            {},
            "invalid fixed_input wrong type x, expected simple:INTEGER, got simple:STRING instead",
        ),
        ({"x": "simple: INTEGER"}, {"x": UNTYPED}, {}, UNKNOWN),
    ],
)
def test_launch_plans_that_do_not_fit_their_workflow(
    inputs: dict[str, str], fixed: dict[str, Literal], defaults: dict[str, str], message: str
) -> None:
    given = {name: parameter(written) for name, written in defaults.items()}
    assert refusal(lambda: expected_inputs(workflow(**inputs), fixed, given)) == message


def test_expected_inputs() -> None:
    inputs = workflow(a="simple: INTEGER", b="simple: STRING", c="simple: FLOAT", d="simple: INTEGER", e="")
    inputs["e"].ClearField("type")
    both = parameter(f"{INT} {DEFAULT_1}")
    expected = expected_inputs(inputs, {"b": WORD, "d": ONE}, {"a": both, "d": both})
    assert dict(expected.parameters) == {
        "a": both,
        "c": parameter("var { type { simple: FLOAT } description: 'about c' } required: true"),
        "d": both,
        "e": parameter("var { description: 'about e' } required: true"),
    }
    assert expected_inputs({}, {}, {}) == interface_pb2.ParameterMap()


EXPECTED = interface_pb2.ParameterMap(
    parameters={
        "needed": parameter(f"{INT} required: true"),
        "given": parameter(f"{STR} {DEFAULT_A}"),
        "maybe": parameter(
            "var { type { union_type { variants { simple: INTEGER } variants { simple: NONE } } } } "
            "default { scalar { none_type {} } }"
        ),
    }
)


def test_merged_inputs() -> None:
    assert merge_inputs({"needed": ONE}, {"fixed": ONE}, EXPECTED) == {
        "needed": ONE,
        "given": WORD,
        "maybe": NONE,
        "fixed": ONE,
    }
    other = lit("scalar { primitive { string_value: 'b' } }")
    assert merge_inputs({"needed": ONE, "given": other, "maybe": ONE}, {}, EXPECTED) == {
        "needed": ONE,
        "given": other,
        "maybe": ONE,
    }


@pytest.mark.parametrize(
    ("user", "fixed", "message"),
    [
        ({"needed": ONE, "zz": ONE}, {}, "invalid input zz"),
        ({}, {}, "expected_inputs needed missing"),
        (
            {"needed": WORD},
            {},
            "invalid needed input wrong type. Expected simple:INTEGER, but got simple:STRING",
        ),
        ({"needed": UNTYPED}, {}, UNKNOWN.replace("[x]", "[needed]")),
        ({"needed": ONE}, {"given": WORD}, "fixed_inputs given cannot be overridden"),
    ],
)
def test_inputs_that_cannot_be_merged(user: dict[str, Literal], fixed: dict[str, Literal], message: str) -> None:
    before = {name: value.SerializeToString() for name, value in user.items()}
    assert refusal(lambda: merge_inputs(user, fixed, EXPECTED)) == message
    assert {name: value.SerializeToString() for name, value in user.items()} == before


def test_signals() -> None:
    optional = kind("union_type { variants { simple: INTEGER } variants { simple: NONE } }")
    check_signal(ONE, kind("simple: INTEGER"))
    # Upstream casts the type of the signal to that of the value, so an optional signal could never be set.
    check_signal(ONE, optional)
    check_signal(WORD, kind("enum_type { values: 'a' }"))
    assert refusal(lambda: check_signal(WORD, kind("enum_type { values: 'b' }"))) == (
        'invalid signal value: "a" is not one of the values of the enum: b'
    )
    assert refusal(lambda: check_signal(WORD, kind("simple: BOOLEAN"))) == (
        'requested signal value [scalar:{primitive:{string_value:"a"}}] is not castable to existing signal type [[8 4]]'
    )
    assert refusal(lambda: check_signal(UNTYPED, optional)) == UNKNOWN.replace("[x]", "[]")


COLOURS = "enum_type { values: 'red' values: 'green' }"
OUTSIDE = '"a" is not one of the values of the enum: red, green'


def test_values_outside_an_enum_are_refused_wherever_they_are_given() -> None:
    enum = f"var {{ type {{ {COLOURS} }} }}"
    red = lit("scalar { primitive { string_value: 'red' } }")
    expected = interface_pb2.ParameterMap(parameters={"c": parameter(f"{enum} required: true")})
    assert merge_inputs({"c": red}, {}, expected) == {"c": red}
    assert refusal(lambda: merge_inputs({"c": WORD}, {}, expected)) == f"invalid c input: {OUTSIDE}"
    assert refusal(lambda: check_parameters({"c": parameter(f"{enum} {DEFAULT_A}")}, "default_inputs")) == (
        f"invalid default value of c in default_inputs: {OUTSIDE}"
    )
    inputs = workflow(c=COLOURS)
    assert refusal(lambda: expected_inputs(inputs, {"c": WORD}, {})) == f"invalid fixed_input c: {OUTSIDE}"
    # The launch plan may declare a string where the workflow wants an enum.
    declared = {"c": parameter(f"{STR} {DEFAULT_A}")}
    assert refusal(lambda: expected_inputs(inputs, {}, declared)) == f"invalid default_input c: {OUTSIDE}"
