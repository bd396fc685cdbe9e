"""The cast rules between literal types: whether a value of one type may be passed where another is declared.

`up` is the type of the upstream node's output, `down` the declared type of the downstream node's input. The kind of
`down` selects the rule.

Proto: flyteidl/core/types.proto. Source: validators.AreTypesCastable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flyteidl.core import types_pb2

from app.compiler.dataclass_schemas import superset
from app.errors import InvalidArgument

# The protobuf parsers refuse deeper messages, so only types built by code can exceed it.
DEPTH_MAX = 100
# The limit for one request, about half a second: unions compare every variant with every variant.
STEPS_MAX = 200_000
# Comparing this many bytes of JSON schemas takes as long as one step.
_SCHEMA_BYTES_PER_STEP = 32

_SIMPLE = types_pb2.SimpleType
_COLUMN = types_pb2.SchemaType.SchemaColumn.SchemaColumnType
_COLUMN_AS_SIMPLE = {
    _COLUMN.INTEGER: _SIMPLE.INTEGER,
    _COLUMN.FLOAT: _SIMPLE.FLOAT,
    _COLUMN.STRING: _SIMPLE.STRING,
    _COLUMN.BOOLEAN: _SIMPLE.BOOLEAN,
    _COLUMN.DATETIME: _SIMPLE.DATETIME,
    _COLUMN.DURATION: _SIMPLE.DURATION,
}


def castable(up: types_pb2.LiteralType, down: types_pb2.LiteralType) -> bool:
    """Return whether a value of type `up` is accepted where `down` is declared. See `Casts.castable`."""
    return Casts().castable(up, down)


def is_none(kind: types_pb2.LiteralType) -> bool:
    """Return whether the type is the simple type NONE, which differs from an unset type."""
    return bool(kind.WhichOneof("type") == "simple" and kind.simple == _SIMPLE.NONE)


class Casts:
    """The cast rules for one request: answers are cached, and STEPS_MAX bounds the steps of all of them.

    The types must not change while this object is used.
    """

    def __init__(self) -> None:
        self.steps = 0
        # By the bytes of `up` and the id of `down`. `down` is stored too, so that Python does not reuse its id.
        self._answers: dict[tuple[bytes, int], tuple[types_pb2.LiteralType, bool]] = {}

    def castable(self, up: types_pb2.LiteralType, down: types_pb2.LiteralType) -> bool:
        """Return whether a value of type `up` is accepted where `down` is declared.

        Raises:
            InvalidArgument: The types nest deeper than DEPTH_MAX, or the steps of this request exceed STEPS_MAX.
        """
        # Nearly all casts are int to int or str to str, where only the tag can make a difference.
        if (
            up.WhichOneof("type") == "simple"
            and down.WhichOneof("type") == "simple"
            and not up.HasField("structure")
            and up.simple != _SIMPLE.STRUCT
        ):
            return bool(up.simple == down.simple)
        key = up.SerializeToString(), id(down)
        if key not in self._answers:
            self._answers[key] = down, self.casts(up, down, 0)
        return self._answers[key][1]

    def casts(self, up: types_pb2.LiteralType, down: types_pb2.LiteralType, depth: int) -> bool:
        """Apply the rules; a union of one variant also counts as that variant (upstream AreTypesCastable)."""
        if up.WhichOneof("type") == "union_type":
            variants = up.union_type.variants
            if len(variants) == 1 and self.accepts(down, variants[0], depth):
                return True
        return self.accepts(down, up, depth)

    def accepts(self, down: types_pb2.LiteralType, up: types_pb2.LiteralType, depth: int) -> bool:
        """Apply the rule for the kind of `down` (upstream getTypeChecker(down).CastsFrom(up))."""
        self._count(1)
        if depth > DEPTH_MAX:
            raise InvalidArgument(f"types nest deeper than {DEPTH_MAX} levels")
        match down.WhichOneof("type"):
            case "collection_type":
                return up.WhichOneof("type") == "collection_type" and self._element(
                    up.collection_type, down.collection_type, depth
                )
            case "map_value_type":
                return up.WhichOneof("type") == "map_value_type" and self._element(
                    up.map_value_type, down.map_value_type, depth
                )
            case "union_type":
                return self._union(up, down.union_type, depth)
            case "blob":
                return _blob(up, down.blob)
            case "schema":
                return _schema(up, down.schema)
            case "structured_dataset_type":
                return self._dataset(up, down.structured_dataset_type, depth)
            case "simple" if down.simple == _SIMPLE.NONE:
                return is_none(up)
        return self._trivial(up, down)

    def _count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > STEPS_MAX:
            raise InvalidArgument(f"types take more than {STEPS_MAX} steps to compare")

    def _element(self, up: types_pb2.LiteralType, down: types_pb2.LiteralType, depth: int) -> bool:
        # Parity: an element is not unwrapped from a union of one variant (collectionTypeChecker calls CastsFrom).
        return is_none(up) or self.accepts(down, up, depth + 1)

    def _union(self, up: types_pb2.LiteralType, down: types_pb2.UnionType, depth: int) -> bool:
        if up.WhichOneof("type") == "union_type":
            return all(
                any(self.casts(variant, target, depth + 1) for target in down.variants)
                for variant in up.union_type.variants
            )
        # A value that fits two variants is ambiguous and fits none.
        found = False
        for target in down.variants:
            if self.casts(up, target, depth + 1):
                if found:
                    return False
                found = True
        return found

    def _dataset(self, up: types_pb2.LiteralType, down: types_pb2.StructuredDatasetType, depth: int) -> bool:
        kind = up.WhichOneof("type")
        if kind == "schema":
            columns = {column.name: _COLUMN_AS_SIMPLE.get(column.type) for column in up.schema.columns}
            return _parquet(down.format) and _covers(
                columns, down.columns, lambda have, want: have is not None and have == want.literal_type.simple
            )
        if kind != "structured_dataset_type":
            return is_none(up)
        source = up.structured_dataset_type
        if source.format and down.format and source.format.lower() != down.format.lower():
            return False
        return _covers(
            {column.name: column.literal_type for column in source.columns},
            down.columns,
            lambda have, want: self.accepts(want.literal_type, have, depth + 1),
        )

    def _trivial(self, up: types_pb2.LiteralType, down: types_pb2.LiteralType) -> bool:
        """Apply the rule for simple types, enums and unset types (upstream trivialChecker)."""
        kind, wanted = up.WhichOneof("type"), down.WhichOneof("type")
        # An enum and a string cast to each other; `literal_values` checks the value.
        if kind == "enum_type" and wanted == "simple" and down.simple == _SIMPLE.STRING:
            return True
        if wanted == "enum_type" and kind == "simple" and up.simple == _SIMPLE.STRING:
            return True
        if up.structure.tag and up.structure.tag != down.structure.tag:
            return False
        if kind != wanted:
            return False
        if kind == "simple":
            if up.simple == down.simple == _SIMPLE.STRUCT:
                return self._struct(up, down)
            return bool(up.simple == down.simple)
        return kind is None or bool(up.enum_type == down.enum_type)

    def _struct(self, up: types_pb2.LiteralType, down: types_pb2.LiteralType) -> bool:
        """Compare two dataclasses by their JSON schemas, where both have one in their metadata."""
        if not up.HasField("metadata") or not down.HasField("metadata"):
            return True
        if up.metadata == down.metadata:
            return True
        self._count(1 + (up.metadata.ByteSize() + down.metadata.ByteSize()) // _SCHEMA_BYTES_PER_STEP)
        return superset(down.metadata, up.metadata)


def _blob(up: types_pb2.LiteralType, down: types_pb2.BlobType) -> bool:
    # Parity: dimensionality is ignored, so a directory passes where a file is declared (blobTypeChecker).
    if up.WhichOneof("type") != "blob":
        return False
    return not up.blob.format or not down.format or bool(up.blob.format == down.format)


def _schema(up: types_pb2.LiteralType, down: types_pb2.SchemaType) -> bool:
    kind = up.WhichOneof("type")
    if kind == "schema":
        return _covers(
            {column.name: column.type for column in up.schema.columns},
            down.columns,
            lambda have, want: bool(have == want.type),
        )
    if kind != "structured_dataset_type" or not _parquet(up.structured_dataset_type.format):
        return False
    return _covers(
        {column.name: column.literal_type.simple for column in up.structured_dataset_type.columns},
        down.columns,
        lambda have, want: bool(have == _COLUMN_AS_SIMPLE.get(want.type)),
    )


def _parquet(format_name: str) -> bool:
    # A schema can only be stored as parquet.
    return not format_name or format_name.lower() == "parquet"


def _covers(have: dict[str, Any], wanted: Iterable[Any], same: Callable[[Any, Any], bool]) -> bool:
    """Return whether `have` has all wanted columns. No columns on either side means any columns."""
    wanted = list(wanted)
    if not have or not wanted:
        return True
    return all(column.name in have and same(have[column.name], column) for column in wanted)
