"""Which type may flow into which: the cast rules between literal types (flyteidl/core/types.proto).

`castable(up, down)` answers for one value that leaves a node as `up` and enters another as `down`. The rules follow the
kind of the receiving type; upstream is validators.AreTypesCastable of the compiler.
"""

from collections.abc import Callable, Iterable
from typing import Any

from flyteidl.core import types_pb2

from app.compiler.dataclass_schemas import superset
from app.errors import InvalidArgument

# Messages nest at most this deep when they arrive (the protobuf parsers refuse more), so only code can exceed it.
DEPTH_MAX = 100
# Unions compare every variant with every variant; beyond this many steps (about half a second) a request is refused.
STEPS_MAX = 200_000
# Comparing two JSON schemas takes as long as one step for so many bytes of them.
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
    """Whether a value of type `up` is accepted where `down` is declared.

    errors: as Casts.castable
    source: upstream validators.AreTypesCastable
    """
    return Casts().castable(up, down)


def is_none(kind: types_pb2.LiteralType) -> bool:
    """Whether the type is the simple type NONE, which is not the same as no type at all."""
    return bool(kind.WhichOneof("type") == "simple" and kind.simple == _SIMPLE.NONE)


class Casts:
    """The cast rules for all questions of one request: answers are cached, and STEPS_MAX bounds all of them together.

    Types that are asked about must not change meanwhile.
    """

    def __init__(self) -> None:
        self.steps = 0
        # By the content of `up` and the identity of `down`, which is kept beside the answer so that its id stays taken.
        self._answers: dict[tuple[bytes, int], tuple[types_pb2.LiteralType, bool]] = {}

    def castable(self, up: types_pb2.LiteralType, down: types_pb2.LiteralType) -> bool:
        """Return whether a value of type `up` is accepted where `down` is declared.

        Raises:
            InvalidArgument: The types nest deeper than DEPTH_MAX, or the steps of this request exceed STEPS_MAX.
        """
        # Nearly every question is int to int or str to str, where nothing but the tag can matter.
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
        """Upstream AreTypesCastable: a union of a single variant may also be taken as that variant."""
        if up.WhichOneof("type") == "union_type":
            variants = up.union_type.variants
            if len(variants) == 1 and self.accepts(down, variants[0], depth):
                return True
        return self.accepts(down, up, depth)

    def accepts(self, down: types_pb2.LiteralType, up: types_pb2.LiteralType, depth: int) -> bool:
        """Upstream getTypeChecker(down).CastsFrom(up)."""
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
        """The rule for simple types, enums and types that say nothing: upstream trivialChecker."""
        kind, wanted = up.WhichOneof("type"), down.WhichOneof("type")
        # An enum is a string of a closed set, so the two convert; the value is checked where it is known.
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
        """Dataclasses: the JSON schema that each carries as metadata decides, where both carry one."""
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
    """Whether every wanted column is among those there are; no columns on either side means any columns."""
    wanted = list(wanted)
    if not have or not wanted:
        return True
    return all(column.name in have and same(have[column.name], column) for column in wanted)
