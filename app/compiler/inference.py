"""Type inference: the type of a literal without any declaration.

A scalar has a type of its own. A list or map has the type of its elements, or a union where they differ. None means
unknown.

Proto: flyteidl/core/literals.proto. Source: validators.LiteralTypeForLiteral.
"""

from __future__ import annotations

from collections.abc import Iterable

from flyteidl.core import literals_pb2, types_pb2

from app.wire.text import text

# The tag of a binary scalar that holds a dict, dataclass or pydantic model.
_MSGPACK = "msgpack"

_SIMPLE = types_pb2.SimpleType
_PRIMITIVES = {
    "integer": types_pb2.LiteralType(simple=_SIMPLE.INTEGER),
    "float_value": types_pb2.LiteralType(simple=_SIMPLE.FLOAT),
    "string_value": types_pb2.LiteralType(simple=_SIMPLE.STRING),
    "boolean": types_pb2.LiteralType(simple=_SIMPLE.BOOLEAN),
    "datetime": types_pb2.LiteralType(simple=_SIMPLE.DATETIME),
    "duration": types_pb2.LiteralType(simple=_SIMPLE.DURATION),
    None: types_pb2.LiteralType(simple=_SIMPLE.NONE),
}
_PRIMITIVE_KEYS = {kind: known.SerializeToString() for kind, known in _PRIMITIVES.items()}
_NONE = _PRIMITIVES[None]
_STRUCT = types_pb2.LiteralType(simple=_SIMPLE.STRUCT)
_BINARY = types_pb2.LiteralType(simple=_SIMPLE.BINARY)
_ERROR = types_pb2.LiteralType(simple=_SIMPLE.ERROR)
# The unknown type inside a list or map, where the message cannot be absent. It casts to no declared type.
_UNSET = types_pb2.LiteralType()


def type_of(literal: literals_pb2.Literal) -> types_pb2.LiteralType | None:
    """Return the inferred type; None for an empty literal and one without a type.

    The returned message is shared: callers must not change it.

    Source: validators.LiteralTypeForLiteral.
    """
    match literal.WhichOneof("value"):
        case "scalar":
            return type_of_scalar(literal.scalar)
        case "collection":
            return types_pb2.LiteralType(collection_type=_element_type(literal.collection.literals))
        case "map":
            return types_pb2.LiteralType(map_value_type=_element_type(literal.map.literals.values()))
        case "offloaded_metadata" if literal.offloaded_metadata.HasField("inferred_type"):
            return literal.offloaded_metadata.inferred_type
    return None


def type_of_primitive(primitive: literals_pb2.Primitive) -> types_pb2.LiteralType:
    """Return the simple type of a primitive; NONE for an empty one."""
    return _PRIMITIVES[primitive.WhichOneof("value")]


def type_of_scalar(scalar: literals_pb2.Scalar) -> types_pb2.LiteralType | None:
    """Return the type of a scalar; None for an empty scalar and for a blob without metadata."""
    match scalar.WhichOneof("value"):
        case "primitive":
            return type_of_primitive(scalar.primitive)
        case "none_type":
            return _NONE
        case "generic":
            return _STRUCT
        case "binary":
            # Parity: bytes with the tag of MessagePack count as a struct (literalTypeForScalar).
            return _STRUCT if scalar.binary.tag == _MSGPACK else _BINARY
        case "error":
            return _ERROR
        case "union":
            return types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=[scalar.union.type]))
        case "blob":
            if not scalar.blob.HasField("metadata"):
                return None
            # Parity: metadata without a type fits no declared blob, schema or dataset, whose checkers require one.
            if not scalar.blob.metadata.HasField("type"):
                return _UNSET
            return types_pb2.LiteralType(blob=scalar.blob.metadata.type)
        case "schema":
            return types_pb2.LiteralType(schema=scalar.schema.type) if scalar.schema.HasField("type") else _UNSET
        case "structured_dataset":
            metadata = scalar.structured_dataset.metadata
            if not metadata.HasField("structured_dataset_type"):
                return _UNSET
            return types_pb2.LiteralType(structured_dataset_type=metadata.structured_dataset_type)
    return None


def _element_type(literals: Iterable[literals_pb2.Literal]) -> types_pb2.LiteralType:
    """Return the type of the elements, a union of several types, or NONE without elements."""
    found: dict[bytes, types_pb2.LiteralType] = {}
    empty: types_pb2.LiteralType | None = None
    for literal in literals:
        # Primitives are distinguished by their field, so that a list of a million numbers builds no million types.
        if literal.WhichOneof("value") == "scalar" and literal.scalar.WhichOneof("value") == "primitive":
            kind = literal.scalar.primitive.WhichOneof("value")
            found.setdefault(_PRIMITIVE_KEYS[kind], _PRIMITIVES[kind])
            continue
        inferred = type_of(literal) or _UNSET
        if literal.WhichOneof("value") == "collection" and not literal.collection.literals:
            # Parity: the type of an empty list counts only where no other element has a type (literalTypeForLiterals).
            empty = inferred
            continue
        found.setdefault(inferred.SerializeToString(deterministic=True), inferred)
    if not found:
        return empty or _NONE
    if len(found) == 1:
        return next(iter(found.values()))
    return _union(sorted(found.values(), key=text))


def _union(kinds: list[types_pb2.LiteralType]) -> types_pb2.LiteralType:
    # Parity: the variants of a list of a union are merged with the other types, and the result becomes a list
    # (buildMultipleTypeUnion). So lists of differently typed lists do not cast to the type that they have.
    nested = False
    union = types_pb2.LiteralType()
    for kind in kinds:
        element = kind.collection_type
        if kind.WhichOneof("type") == "collection_type" and element.WhichOneof("type") == "union_type":
            nested = True
            union.union_type.variants.extend(element.union_type.variants)
        else:
            union.union_type.variants.append(kind)
    return types_pb2.LiteralType(collection_type=union) if nested else union
