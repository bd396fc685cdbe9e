"""Values against declared types: enums, times, blobs and unions, at any depth."""

from __future__ import annotations

import time

import pytest
from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import text_format

from app.compiler.casting import Casts
from app.compiler.literal_values import problem_of

INT, STR, NONE = "simple: INTEGER", "simple: STRING", "simple: NONE"
COLOUR = "enum_type { values: 'red' values: 'green' }"
RED = "scalar { primitive { string_value: 'red' } }"
PURPLE = RED.replace("red", "purple")
ONE, NOTHING = "scalar { primitive { integer: 1 } }", "scalar { none_type {} }"
FILE, FOLDER = "blob {}", "blob { dimensionality: MULTIPART }"
OUTSIDE = '"purple" is not one of the values of the enum: red, green'


def union_type(*variants: str) -> str:
    return f"union_type {{ {' '.join(f'variants {{ {variant} }}' for variant in variants)} }}"


def union(value: str, type: str) -> str:
    return f"scalar {{ union {{ value {{ {value} }} type {{ {type} }} }} }}"


def several(*values: str) -> str:
    return f"collection {{ {' '.join(f'literals {{ {value} }}' for value in values)} }}"


def named(**values: str) -> str:
    entries = (f"literals {{ key: '{key}' value {{ {value} }} }}" for key, value in values.items())
    return f"map {{ {' '.join(entries)} }}"


def at(seconds: int, nanos: int = 0, kind: str = "datetime") -> str:
    return f"scalar {{ primitive {{ {kind} {{ seconds: {seconds} nanos: {nanos} }} }} }}"


def blob(type: str) -> str:
    return f"scalar {{ blob {{ uri: 's3://x/y' metadata {{ type {{ {type[6:-2]} }} }} }} }}"


def problem(value: str, declared: str) -> str | None:
    literal = text_format.Parse(value, literals_pb2.Literal())
    return problem_of(literal, text_format.Parse(declared, types_pb2.LiteralType()), Casts())


OPTIONAL = union_type(COLOUR, NONE)


def chosen(type: str, *choices: str) -> str:
    """The type that flytekit makes of a typing.Literal."""
    values = " ".join(f"values {{ {choice} }}" for choice in choices)
    field = f"fields {{ key: 'literal_values' value {{ list_value {{ {values} }} }} }}"
    return f"{type} annotation {{ annotations {{ {field} }} }}"


WORDS = chosen(STR, "string_value: 'red'", "string_value: 'green'")
NUMBERS = chosen(INT, "number_value: 1", "number_value: 3")


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (RED, COLOUR),
        (several(RED, NOTHING), f"collection_type {{ {COLOUR} }}"),
        (RED, OPTIONAL),
        (NOTHING, OPTIONAL),
        (union(RED, COLOUR), OPTIONAL),
        (union(RED, STR), OPTIONAL),
        (union(RED, COLOUR), COLOUR),
        (union(RED, STR), WORDS),
        (several(union(ONE, NUMBERS)), f"collection_type {{ {NUMBERS} }}"),
        (union(NOTHING, NONE), OPTIONAL),
        (union(PURPLE, STR), union_type(COLOUR, STR)),
        (union(several(ONE), f"collection_type {{ {INT} }}"), union_type(f"collection_type {{ {INT} }}", NONE)),
        (union("scalar { generic {} }", "simple: STRUCT"), union_type("simple: STRUCT", NONE)),
        (union("scalar { binary { tag: 'msgpack' } }", "simple: STRUCT"), union_type("simple: STRUCT", NONE)),
        (union("scalar { error {} }", "simple: ERROR"), union_type("simple: ERROR", NONE)),
        (union("scalar { schema {} }", "structured_dataset_type {}"), union_type("structured_dataset_type {}")),
        ("offloaded_metadata { uri: 'x' }", COLOUR),
        (at(-62135596800), "simple: DATETIME"),
        (at(-315576000000, -999999999, "duration"), "simple: DURATION"),
        (blob(FILE), FILE),
        (blob(FOLDER), FOLDER),
        (RED, WORDS),
        (ONE, NUMBERS),
        (union(NOTHING, NONE), union_type(WORDS, NONE)),
        (RED, f"{STR} annotation {{}}"),
    ],
)
def test_values_that_fit(value: str, declared: str) -> None:
    assert problem(value, declared) is None


MISFIT = "the value of the union is not of its type "


@pytest.mark.parametrize(
    ("value", "declared", "expected"),
    [
        (PURPLE, COLOUR, OUTSIDE),
        ("scalar { primitive { string_value: '' } }", COLOUR, OUTSIDE.replace("purple", "")),
        (several(RED, PURPLE), f"collection_type {{ {COLOUR} }}", f"[1]: {OUTSIDE}"),
        (
            named(a=several(PURPLE)),
            f"map_value_type {{ collection_type {{ {COLOUR} }} }}",
            f"[a]: [0]: {OUTSIDE}",
        ),
        (PURPLE, OPTIONAL, OUTSIDE),
        (union(PURPLE, COLOUR), OPTIONAL, OUTSIDE),
        (union(PURPLE, STR), COLOUR, OUTSIDE),
        (union(PURPLE, STR), WORDS, '"purple" is not one of the values that are allowed: red, green'),
        (union(at(253402300800), "simple: DATETIME"), "simple: DATETIME", None),
        (union(PURPLE, STR), OPTIONAL, OUTSIDE),
        (several(union(PURPLE, STR)), f"collection_type {{ {OPTIONAL} }}", f"[0]: {OUTSIDE}"),
        (union(ONE, STR), union_type(STR, NONE), f"{MISFIT}simple:STRING"),
        (union(ONE, NONE), union_type(STR, NONE), f"{MISFIT}simple:NONE"),
        (union(ONE, f"collection_type {{ {INT} }}"), union_type(STR), f"{MISFIT}collection_type:{{simple:INTEGER}}"),
        (union(blob(FILE), "schema {}"), union_type("schema {}"), f"{MISFIT}schema:{{}}"),
        (at(253402300800), "simple: DATETIME", "proto: timestamp (seconds:253402300800) after 9999-12-31"),
        (several(at(-62135596801)), "collection_type { simple: DATETIME }", None),
        (at(1, -1), "simple: DATETIME", "proto: timestamp (seconds:1 nanos:-1) has out-of-range nanos"),
        (at(315576000001, 0, "duration"), "simple: DURATION", None),
        (at(-315576000001, 0, "duration"), "simple: DURATION", None),
        (at(0, 10**9, "duration"), "simple: DURATION", "proto: duration (nanos:1000000000) has out-of-range nanos"),
        (at(1, -1, "duration"), union_type("simple: DURATION", NONE), None),
        (PURPLE, WORDS, '"purple" is not one of the values that are allowed: red, green'),
        (ONE.replace("1", "2"), NUMBERS, '"2" is not one of the values that are allowed: 1, 3'),
        (several(PURPLE), f"collection_type {{ {union_type(WORDS, NONE)} }}", None),
        (blob(FOLDER), FILE, "the blob is MULTIPART, and SINGLE is declared"),
        (several(blob(FILE)), f"collection_type {{ {FOLDER} }}", "[0]: the blob is SINGLE, and MULTIPART is declared"),
    ],
)
def test_values_that_do_not_fit(value: str, declared: str, expected: str | None) -> None:
    found = problem(value, declared)
    assert found == expected if expected is not None else found


def test_a_long_list_of_numbers_is_not_walked() -> None:
    numbers = literals_pb2.Literal()
    numbers.collection.literals.extend([text_format.Parse(ONE, literals_pb2.Literal())] * 200_000)
    declared = text_format.Parse(f"collection_type {{ {INT} }}", types_pb2.LiteralType())
    began = time.perf_counter()
    assert problem_of(numbers, declared, Casts()) is None
    assert time.perf_counter() - began < 0.1


def test_the_name_of_a_union_inside_a_list_counts() -> None:
    declared = f"collection_type {{ {union_type(STR, COLOUR)} }}"
    assert problem(several(union(RED, STR), union(ONE, STR)), declared) == f"[1]: {MISFIT}simple:STRING"


def test_unions_inside_unions_take_no_exponential_time() -> None:
    literal, declared = text_format.Parse(RED, literals_pb2.Literal()), types_pb2.LiteralType(simple=types_pb2.STRING)
    for _ in range(20):
        value, type = literal, declared
        literal, declared = literals_pb2.Literal(), types_pb2.LiteralType()
        literal.scalar.union.value.CopyFrom(value)
        literal.scalar.union.type.CopyFrom(type)
        declared.union_type.variants.add().CopyFrom(type)
    began = time.perf_counter()
    assert problem_of(literal, declared, Casts()) is None
    # It takes 0.03 s; checked twice at each level, it took more than half a minute.
    assert time.perf_counter() - began < 10
