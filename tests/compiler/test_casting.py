"""Which type casts to which, over the whole table that was read off upstream."""

from __future__ import annotations

import json

import pytest
from flyteidl.core.types_pb2 import (
    BlobType,
    EnumType,
    LiteralType,
    SchemaType,
    SimpleType,
    StructuredDatasetType,
    TypeAnnotation,
    TypeStructure,
    UnionType,
)
from google.protobuf.struct_pb2 import Struct

from app.compiler.casting import DEPTH_MAX, STEPS_MAX, Casts, castable
from app.compiler.dataclass_schemas import superset
from app.errors import InvalidArgument


def simple(name: str, tag: str = "") -> LiteralType:
    made = LiteralType(simple=SimpleType.Value(name))
    if tag:
        made.structure.tag = tag
    return made


def enum(*values: str) -> LiteralType:
    return LiteralType(enum_type=EnumType(values=values))


def list_of(element: LiteralType) -> LiteralType:
    return LiteralType(collection_type=element)


def map_of(value: LiteralType) -> LiteralType:
    return LiteralType(map_value_type=value)


def union(*variants: LiteralType) -> LiteralType:
    return LiteralType(union_type=UnionType(variants=variants))


def blob(format: str = "", multipart: bool = False) -> LiteralType:
    return LiteralType(blob=BlobType(format=format, dimensionality=1 if multipart else 0))


def schema(columns: str = "") -> LiteralType:
    column = SchemaType.SchemaColumn
    return LiteralType(schema=SchemaType(columns=[column(name=name, type=column.INTEGER) for name in columns]))


def dataset(format: str = "", columns: str = "") -> LiteralType:
    column = StructuredDatasetType.DatasetColumn
    columns_ = [column(name=name, literal_type=INT) for name in columns]
    return LiteralType(structured_dataset_type=StructuredDatasetType(format=format, columns=columns_))


INT, STR, NONE = simple("INTEGER"), simple("STRING"), simple("NONE")
TYPES = {
    "INT": INT,
    "FLOAT": simple("FLOAT"),
    "STR": STR,
    "STRUCT": simple("STRUCT"),
    "NONE": NONE,
    "ENUM(a,b)": enum("a", "b"),
    "ENUM(c)": enum("c"),
    "LI": list_of(INT),
    "LN": list_of(NONE),
    "LLI": list_of(list_of(INT)),
    "MI": map_of(INT),
    "BL": blob(),
    "BLcsv": blob("csv"),
    "BLpng": blob("png"),
    "BLmp": blob(multipart=True),
    "Uis": union(INT, STR),
    "Ui": union(INT),
    "Uin": union(INT, NONE),
    "int#a": simple("INTEGER", "a"),
    "SC0": schema(),
    "SCa": schema("a"),
    "SCab": schema("ab"),
    "SD0": dataset(),
    "SDa": dataset(columns="a"),
    "SDparquet": dataset("parquet"),
    "SDcsv": dataset("csv"),
    "SDpq,ab": dataset("parquet", "ab"),
}
SCALARS = """
up\\down  INT FLOAT STR STRUCT NONE ENUM(a,b) ENUM(c) LI LN LLI MI BL BLcsv BLpng BLmp Uis Ui Uin int#a
INT       Y   .    .    .     .      .         .     .  .  .   .  .   .     .     .    Y   Y  Y    Y
STR       .   .    Y    .     .      Y         Y     .  .  .   .  .   .     .     .    Y   .  .    .
NONE      .   .    .    .     Y      .         .     .  .  .   .  .   .     .     .    .   .  Y    .
ENUM(a,b) .   .    Y    .     .      Y         .     .  .  .   .  .   .     .     .    Y   .  .    .
LI        .   .    .    .     .      .         .     Y  .  .   .  .   .     .     .    .   .  .    .
LN        .   .    .    .     .      .         .     Y  Y  Y   .  .   .     .     .    .   .  .    .
BLcsv     .   .    .    .     .      .         .     .  .  .   .  Y   Y     .     Y    .   .  .    .
Uis       .   .    .    .     .      .         .     .  .  .   .  .   .     .     .    Y   .  .    .
Ui        Y   .    .    .     .      .         .     .  .  .   .  .   .     .     .    Y   Y  Y    Y
Uin       .   .    .    .     .      .         .     .  .  .   .  .   .     .     .    .   .  Y    .
int#a     .   .    .    .     .      .         .     .  .  .   .  .   .     .     .    .   .  .    Y
"""
TABLES = """
up\\down  SC0 SCa SCab SD0 SDa SDparquet SDcsv SDpq,ab
NONE      .   .   .    Y   Y     Y        Y       Y
SC0       Y   Y   Y    Y   Y     Y        .       Y
SCa       Y   Y   .    Y   Y     Y        .       .
SD0       Y   Y   Y    Y   Y     Y        Y       Y
SDa       Y   Y   .    Y   Y     Y        Y       .
SDcsv     .   .   .    Y   Y     .        Y       .
SDpq,ab   Y   Y   Y    Y   Y     Y        .       Y
"""


def rows(table: str) -> list[tuple[str, str, bool]]:
    """Up, down and whether the table says yes."""
    header, *lines = table.strip().splitlines()
    downs = header.split()[1:]
    return [
        (line.split()[0], down, answer == "Y")
        for line in lines
        for down, answer in zip(downs, line.split()[1:], strict=True)
    ]


@pytest.mark.parametrize(("up", "down", "yes"), [*rows(SCALARS), *rows(TABLES)])
def test_table(up: str, down: str, yes: bool) -> None:
    assert castable(TYPES[up], TYPES[down]) is yes


def _annotated(kind: LiteralType) -> LiteralType:
    made = LiteralType()
    made.CopyFrom(kind)
    made.annotation.CopyFrom(TypeAnnotation(annotations=Struct(fields={"a": {"string_value": "b"}})))
    made.metadata.update({"title": "anything"})
    return made


OTHERS = {
    "an int fits two variants of a union": (INT, union(simple("INTEGER", "a"), simple("INTEGER", "b")), False),
    "a string fits both the enum and the string": (STR, union(enum("a"), STR), False),
    "an empty list fits two lists": (list_of(NONE), union(list_of(INT), list_of(STR)), False),
    "a list fits the one list": (list_of(INT), union(list_of(INT), INT), True),
    "an element is not taken out of a union of one": (list_of(union(INT)), list_of(INT), False),
    "nor is a value of a map": (map_of(union(INT)), map_of(INT), False),
    "an empty map fits any map": (map_of(NONE), map_of(map_of(INT)), True),
    "a map is no list": (map_of(NONE), list_of(INT), False),
    "the order of variants does not matter": (union(INT, STR), union(STR, INT), True),
    "metadata and annotations do not matter": (_annotated(INT), INT, True),
    "on either side": (STR, _annotated(STR), True),
    "the order of an enum's values does": (enum("a", "b"), enum("b", "a"), False),
    "no type fits no type": (LiteralType(), LiteralType(), True),
    "no type fits nothing else": (LiteralType(), INT, False),
    "nothing fits no type": (INT, LiteralType(), False),
    "no type is not none": (list_of(LiteralType()), list_of(INT), False),
    "a tag that is wanted may be absent": (INT, simple("INTEGER", "a"), True),
    "another tag may not": (simple("INTEGER", "b"), simple("INTEGER", "a"), False),
    "formats are compared without case": (dataset("CSV"), dataset("csv"), True),
    "parquet is what a schema is, in any case": (dataset("Parquet"), schema("a"), True),
    "a column of another type": (
        LiteralType(
            structured_dataset_type=StructuredDatasetType(
                columns=[StructuredDatasetType.DatasetColumn(name="a", literal_type=STR)]
            )
        ),
        dataset(columns="a"),
        False,
    ),
    "a file where a directory is declared": (blob("csv"), blob("csv", multipart=True), True),
}


@pytest.mark.parametrize(("up", "down", "yes"), OTHERS.values(), ids=OTHERS)
def test_others(up: LiteralType, down: LiteralType, yes: bool) -> None:
    assert castable(up, down) is yes


def struct(document: object = None) -> LiteralType:
    made = simple("STRUCT")
    if document is not None:
        made.metadata.SetInParent()
        made.metadata.update(document)
    return made


def a_class(required: str = "", optional: str = "", **keywords: object) -> dict[str, object]:
    """The schema of a class whose fields are letters, all of them integers."""
    properties = {name: {"type": "integer"} for name in required + optional}
    return {"type": "object", "properties": properties, "required": list(required), **keywords}


A, AB = a_class("a"), a_class("ab")
TREE = {
    "$ref": "#/definitions/T",
    "definitions": {"T": {"type": "object", "properties": {"left": {"$ref": "#/definitions/T"}}}},
}
WIDER_TREE = json.loads(json.dumps(TREE).replace('"left": {', '"right": {"type": "integer"}, "left": {'))


def text_field(**keywords: object) -> dict[str, object]:
    return {"type": "object", "properties": {"a": {"type": "string", **keywords}}}


def number_field(**keywords: object) -> dict[str, object]:
    return {"type": "object", "properties": {"a": {"type": "number", **keywords}}}


def list_field(**keywords: object) -> dict[str, object]:
    return {"type": "object", "properties": {"a": {"type": "array", **keywords}}}


STRUCTS = {
    "without a schema here": (None, A, True),
    "without a schema there": (A, None, True),
    "the same": (A, A, True),
    "another order of keys": (dict(reversed(A.items())), A, True),
    "more fields": (AB, A, True),
    "more fields, not required": (a_class("a", "b"), A, True),
    "fewer fields": (A, AB, False),
    "what is required is not given": (a_class("", "a"), A, False),
    "what is given is not required": (A, a_class("", "a"), True),
    "another title": (A, {**A, "title": "Other"}, True),
    "an unknown keyword": (A, {**A, "$comment": 3}, True),
    "an integer for a number": ({"type": "integer"}, {"type": "number"}, False),
    "an empty schema": ({}, A, False),
    "additional properties": (A, {**A, "additionalProperties": False}, True),
    "a nested class with more fields": (a_class(p=1, properties={"p": AB}), a_class(p=1, properties={"p": A}), True),
    "a nested class with fewer fields": (a_class(p=1, properties={"p": A}), a_class(p=1, properties={"p": AB}), False),
    "a reference": (AB, {"$ref": "#/definitions/A", "definitions": {"A": A}}, True),
    "a reference to nothing": (AB, {"$ref": "#/definitions/B", "definitions": {"A": A}}, False),
    "a reference elsewhere": (AB, {"$ref": "http://x/y"}, False),
    "a class that contains itself": (WIDER_TREE, TREE, True),
    "and has too little": (TREE, WIDER_TREE, False),
    "references in a ring": (A, {"$ref": "#/a", "a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}}, False),
    "a later dialect": (AB, {**A, "$schema": "https://json-schema.org/draft/2020-12/schema"}, False),
    "a known dialect": (AB, {**A, "$schema": "http://json-schema.org/draft-07/schema#"}, True),
    "no schema at all": (AB, {**A, "properties": 3}, False),
    "an unknown type name": ({**AB, "type": "thing"}, A, False),
    "a smaller enum": (text_field(enum=["a"]), text_field(enum=["a", "b"]), True),
    "a larger enum": (text_field(enum=["a", "b"]), text_field(enum=["a"]), False),
    "another pattern": (text_field(pattern="^a"), text_field(pattern="^b"), False),
    "a pattern that is no expression": (text_field(pattern="("), text_field(), False),
    "another format": (text_field(format="date"), text_field(), False),
    "a shorter text": (text_field(maxLength=3), text_field(maxLength=4), True),
    "a longer text": (text_field(maxLength=5), text_field(maxLength=4), False),
    "a text without limit": (text_field(), text_field(maxLength=4), False),
    "a narrower number": (number_field(minimum=1, maximum=2), number_field(minimum=0, maximum=3), True),
    "a wider number": (number_field(minimum=0), number_field(minimum=1), False),
    "exclusive bounds": (number_field(), number_field(exclusiveMinimum=1), True),
    "a multiple": (number_field(multipleOf=6), number_field(multipleOf=3), True),
    "no multiple": (number_field(multipleOf=4), number_field(multipleOf=3), False),
    "one multiple only": (number_field(multipleOf=4), number_field(), False),
    "elements with more fields": (list_field(items=AB), list_field(items=A), True),
    "elements with fewer fields": (list_field(items=A), list_field(items=AB), False),
    "elements of any kind": (list_field(), list_field(items=A), False),
    "a list of two": (list_field(items=[A, A]), list_field(items=[A, A]), True),
    "a list of two for a list of three": (list_field(items=[A, AB]), list_field(items=[A, A, A]), False),
    "more elements at least": (list_field(minItems=2), list_field(minItems=1), True),
    "unique elements wanted": (list_field(), list_field(uniqueItems=True), False),
    "the same alternatives": ({"anyOf": [A, AB], "x": 1}, {"anyOf": [A, AB]}, True),
    "another alternative": ({"anyOf": [A, {"type": "string"}]}, {"anyOf": [A, AB]}, False),
    "alternatives on one side": ({"allOf": [A]}, A, False),
    "the same constant": ({**A, "const": 1}, {**A, "const": 1, "title": "x"}, True),
    "another constant": ({**A, "const": 1}, {**A, "const": True}, False),
    "a condition on one side": ({**A, "if": A, "then": A}, A, False),
    "the same condition": ({**A, "if": A, "then": A, "title": "x"}, {**A, "if": A, "then": A}, True),
    "fewer properties allowed": ({**A, "maxProperties": 1}, {**A, "maxProperties": 2}, True),
    "true for true": (list_field(items=True), list_field(items=True, title="x"), True),
}


@pytest.mark.parametrize(("up", "down", "yes"), STRUCTS.values(), ids=STRUCTS)
def test_dataclasses(up: object, down: object, yes: bool) -> None:
    assert castable(struct(up), struct(down)) is yes


def test_a_dataclass_with_another_tag() -> None:
    tagged = struct(A)
    tagged.structure.CopyFrom(TypeStructure(tag="a"))
    assert not castable(tagged, struct(A))
    assert castable(struct(A), tagged)


def nested(levels: int, inner: bytes, field: bytes) -> bytes:
    """The bytes of messages inside each other, each the given length-delimited field of the one around it."""
    for _ in range(levels):
        length, prefix = len(inner), b""
        while length > 0x7F:
            prefix, length = prefix + bytes([length & 0x7F | 0x80]), length >> 7
        inner = field + prefix + bytes([length]) + inner
    return inner


def test_types_that_nest_without_end_are_refused() -> None:
    deep = LiteralType.FromString(nested(90, INT.SerializeToString(), b"\x12"))
    assert castable(deep, deep)
    above = LiteralType()
    inner = above
    for _ in range(DEPTH_MAX + 2):
        inner = inner.collection_type
    inner.simple = SimpleType.INTEGER
    with pytest.raises(InvalidArgument, match="types nest deeper than 100 levels"):
        castable(above, above)


@pytest.mark.heavy
def test_unions_that_take_endless_comparisons_are_refused() -> None:
    up, down = INT, STR
    for _ in range(45):
        up, down = union(up), union(down)
    with pytest.raises(InvalidArgument, match="types take more than 200000 steps to compare"):
        castable(up, down)


@pytest.mark.heavy
def test_steps_are_counted_over_all_questions_of_a_request() -> None:
    size, casts = 300, Casts()
    wanted = union(*(list_of(enum(f"a{number}")) for number in range(size)))

    def ask(question: int) -> bool:
        return casts.castable(union(*(list_of(enum(f"b{number}")) for number in range(question, question + 2))), wanted)

    assert not ask(0)
    taken = casts.steps
    assert not any(ask(question) for question in range(1, STEPS_MAX // taken))
    with pytest.raises(InvalidArgument, match=f"more than {STEPS_MAX} steps"):
        ask(STEPS_MAX // taken)


def test_a_question_that_is_asked_again_takes_no_steps() -> None:
    casts, wanted = Casts(), union(INT, list_of(INT))
    assert casts.castable(union(INT), wanted)
    steps = casts.steps
    assert casts.castable(union(INT), wanted)
    assert casts.steps == steps


@pytest.mark.parametrize(
    "pattern", ["a{99999999999}", "(" * 2_000 + ")" * 2_000, "(?L)a", "(?au)a", "(", "a" * 100_000, "(((a*)*)*)*$" * 90]
)
def test_no_pattern_of_a_client_fails_or_takes_long(pattern: str) -> None:
    one, other = Struct(), Struct()
    for struct, title in ((one, "x"), (other, "y")):
        struct.update({"type": "object", "title": title, "properties": {"a": {"type": "string", "pattern": pattern}}})
    assert superset(one, other) in (True, False)


@pytest.mark.parametrize("pointer", ["#/a/" + "9" * 5_000, "#/properties/p", "#"])
def test_references_that_lead_nowhere_or_round_are_compared(pointer: str) -> None:
    one, other = Struct(), Struct()
    for struct, title in ((one, "x"), (other, "y")):
        struct.update({"type": "object", "title": title, "a": [], "properties": {"p": {"$ref": pointer}}})
    assert superset(one, other) in (True, False)


def test_a_long_chain_of_references_is_no_superset() -> None:
    one, other = Struct(), Struct()
    links = {f"d{n}": {"type": "object", "properties": {"x": {"$ref": f"#/definitions/d{n + 1}"}}} for n in range(1000)}
    links["d1000"] = {"type": "object"}
    for struct, title in ((one, "x"), (other, "y")):
        struct.update({"title": title, "definitions": links, "$ref": "#/definitions/d0"})
    assert not superset(one, other)
