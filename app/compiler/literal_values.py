"""Checks of a value against its declared type, beyond the cast rules between types.

The cast rules compare only types: a string may be passed to an enum, and a union is checked by the type that it names.
These checks compare the value, before an execution starts. Upstream has no such checks, and the task fails.

Proto: flyteidl/core/literals.proto, types.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from flyteidl.core import literals_pb2, types_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from app.compiler.casting import Casts
from app.compiler.inference import type_of
from app.wire.text import text

_SIMPLE = types_pb2.SimpleType
# 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
_SECONDS_MIN, _SECONDS_MAX = -62135596800, 253402300799
_NANOS_MAX = 999_999_999
# 10,000 years.
_DURATION_SECONDS_MAX = 315_576_000_000
_SHOWN_MAX = 100
_CHOICES = "literal_values"

# The fields of a scalar, or of a primitive, that hold values of a type.
_PRIMITIVES = {
    _SIMPLE.INTEGER: "integer",
    _SIMPLE.FLOAT: "float_value",
    _SIMPLE.STRING: "string_value",
    _SIMPLE.BOOLEAN: "boolean",
    _SIMPLE.DATETIME: "datetime",
    _SIMPLE.DURATION: "duration",
}
_SIMPLE_SCALARS = {
    _SIMPLE.NONE: ("none_type",),
    _SIMPLE.ERROR: ("error",),
    _SIMPLE.BINARY: ("binary",),
    _SIMPLE.STRUCT: ("generic", "binary"),
}
_TABLES = ("schema", "structured_dataset")
_SCALARS = {"blob": ("blob",), "schema": _TABLES, "structured_dataset_type": _TABLES}


def problem_of(literal: literals_pb2.Literal, declared: types_pb2.LiteralType, casts: Casts) -> str | None:
    """Return the problem of a value whose type casts to the declared type; None for a value that fits.

    Checked, at any depth of lists, maps and unions: values of enums and of `typing.Literal`, the range of datetimes and
    durations, whether a blob is a file or a directory, and whether the value of a union is of the type that the union
    names.
    An offloaded literal is not read.

    Args:
        literal: The value.
        declared: The type.
        casts: The cast rules with the steps that the request has left.
    """
    return _misnamed(literal, casts) or _problem(literal, declared, casts) if _matters(declared) else None


def datetime_problem(literal: literals_pb2.Literal) -> str | None:
    """Return the problem of a datetime or duration, with the text of Go's timestamppb and durationpb."""
    primitive = literal.scalar.primitive
    match primitive.WhichOneof("value"):
        case "datetime":
            return _timestamp_problem(primitive.datetime)
        case "duration":
            return _duration_problem(primitive.duration)
    return None


def _matters(declared: types_pb2.LiteralType) -> bool:
    """Return whether a value of this type can have a problem; a list of a million numbers is not walked."""
    match declared.WhichOneof("type"):
        case "simple":
            return declared.simple in (_SIMPLE.DATETIME, _SIMPLE.DURATION) or bool(_choices(declared))
        case "collection_type":
            return _matters(declared.collection_type)
        case "map_value_type":
            return _matters(declared.map_value_type)
    return declared.WhichOneof("type") in ("enum_type", "union_type", "blob")


def _problem(literal: literals_pb2.Literal, declared: types_pb2.LiteralType, casts: Casts) -> str | None:
    # A union of one variant is accepted where that variant is declared.
    while literal.scalar.WhichOneof("value") == "union" and declared.WhichOneof("type") != "union_type":
        literal = literal.scalar.union.value
    if literal.WhichOneof("value") == "offloaded_metadata":
        return None
    match declared.WhichOneof("type"):
        case "union_type":
            return _union_problem(literal, declared.union_type, casts)
        case "collection_type" if literal.WhichOneof("value") == "collection":
            fits = partial(_problem, declared=declared.collection_type, casts=casts)
            return _element_problem(enumerate(literal.collection.literals), fits)
        case "map_value_type" if literal.WhichOneof("value") == "map":
            fits = partial(_problem, declared=declared.map_value_type, casts=casts)
            return _element_problem(sorted(literal.map.literals.items()), fits)
        case "enum_type":
            return _enum_problem(literal, declared.enum_type)
        case "blob" if literal.scalar.WhichOneof("value") == "blob":
            return _blob_problem(literal.scalar.blob.metadata.type, declared.blob)
    return _choice_problem(literal.scalar.primitive, _choices(declared)) or datetime_problem(literal)


def _element_problem(
    elements: Iterable[tuple[object, literals_pb2.Literal]], problem: Callable[[literals_pb2.Literal], str | None]
) -> str | None:
    """Return the problem of the first element that has one, after its index or key."""
    for key, element in elements:
        # Parity: an element of any type may be None.
        if element.scalar.HasField("none_type"):
            continue
        found = problem(element)
        if found is not None:
            return f"[{key}]: {found}"
    return None


def _misnamed(literal: literals_pb2.Literal, casts: Casts) -> str | None:
    """Return the first union in a literal, at any depth, whose value is not of the type that the union names.

    A walk of its own: checked again for every variant of every union around it, a union of depth n took 2^n steps.
    """
    fits = partial(_misnamed, casts=casts)
    match literal.WhichOneof("value"):
        case "collection":
            return _element_problem(enumerate(literal.collection.literals), fits)
        case "map":
            return _element_problem(sorted(literal.map.literals.items()), fits)
        case "scalar" if literal.scalar.WhichOneof("value") == "union":
            value, named = literal.scalar.union.value, literal.scalar.union.type
            return _mismatch(value, named) or _problem(value, named, casts) or fits(value)
    return None


def _union_problem(literal: literals_pb2.Literal, declared: types_pb2.UnionType, casts: Casts) -> str | None:
    """Return the first variant's problem where no variant takes the value."""
    if literal.scalar.WhichOneof("value") == "union":
        value, given = literal.scalar.union.value, literal.scalar.union.type
    else:
        value, given = literal, type_of(literal)
    first = None
    for variant in declared.variants:
        if given is not None and casts.castable(given, variant):
            found = _problem(value, variant, casts)
            if found is None:
                return None
            first = first or found
    return first


def _mismatch(value: literals_pb2.Literal, declared: types_pb2.LiteralType) -> str | None:
    """Return the problem of a value whose kind differs from the type that its union names."""
    kind, given = declared.WhichOneof("type"), value.WhichOneof("value")
    scalar = value.scalar.WhichOneof("value")
    if given == "offloaded_metadata" or kind in (None, "union_type"):
        return None
    if kind in ("collection_type", "map_value_type"):
        fits = given == ("collection" if kind == "collection_type" else "map")
    elif kind == "enum_type":
        fits = value.scalar.primitive.HasField("string_value")
    elif kind == "simple" and declared.simple in _PRIMITIVES:
        fits = value.scalar.primitive.HasField(_PRIMITIVES[declared.simple])
    else:
        fits = scalar in (_SIMPLE_SCALARS[declared.simple] if kind == "simple" else _SCALARS[kind])
    return None if fits else f"the value of the union is not of its type {text(declared)[:_SHOWN_MAX]}"


def _enum_problem(literal: literals_pb2.Literal, declared: types_pb2.EnumType) -> str | None:
    value = literal.scalar.primitive.string_value
    if value in declared.values:
        return None
    return f'"{value[:_SHOWN_MAX]}" is not one of the values of the enum: {", ".join(declared.values)}'


def _choices(declared: types_pb2.LiteralType) -> list[str | float | bool]:
    """Return the values of a `typing.Literal`, which flytekit sends as an annotation; none for another type."""
    fields = declared.annotation.annotations.fields
    if _CHOICES not in fields:
        return []
    kinds = ("string_value", "number_value", "bool_value")
    given = [(value.WhichOneof("kind"), value) for value in fields[_CHOICES].list_value.values]
    return [getattr(value, kind) for kind, value in given if kind in kinds]


def _choice_problem(primitive: literals_pb2.Primitive, choices: list[str | float | bool]) -> str | None:
    kind = primitive.WhichOneof("value")
    if not choices or kind not in ("string_value", "integer", "float_value", "boolean"):
        return None
    value = getattr(primitive, kind)
    if value in choices:
        return None
    shown = ", ".join(f"{choice:g}" if isinstance(choice, float) else str(choice) for choice in choices)
    return f'"{str(value)[:_SHOWN_MAX]}" is not one of the values that are allowed: {shown}'


def _blob_problem(given: types_pb2.BlobType, declared: types_pb2.BlobType) -> str | None:
    if given.dimensionality == declared.dimensionality:
        return None
    name = types_pb2.BlobType.BlobDimensionality.Name
    return f"the blob is {name(given.dimensionality)}, and {name(declared.dimensionality)} is declared"


def _timestamp_problem(timestamp: Timestamp) -> str | None:
    """Check the range that JSON can represent."""
    seconds, nanos = timestamp.seconds, timestamp.nanos
    if seconds < _SECONDS_MIN:
        found = "before 0001-01-01"
    elif seconds > _SECONDS_MAX:
        found = "after 9999-12-31"
    elif not 0 <= nanos <= _NANOS_MAX:
        found = "has out-of-range nanos"
    else:
        return None
    return f"proto: timestamp ({text(timestamp)}) {found}"


def _duration_problem(duration: Duration) -> str | None:
    seconds, nanos = duration.seconds, duration.nanos
    if seconds < -_DURATION_SECONDS_MAX:
        found = "exceeds -10000 years"
    elif seconds > _DURATION_SECONDS_MAX:
        found = "exceeds +10000 years"
    elif not -_NANOS_MAX <= nanos <= _NANOS_MAX:
        found = "has out-of-range nanos"
    elif seconds * nanos < 0:
        found = "has seconds and nanos with different signs"
    else:
        return None
    return f"proto: duration ({text(duration)}) {found}"
