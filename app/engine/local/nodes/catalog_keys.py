"""Compute the cache key of outputs from the task's name, version and interface and a hash of the inputs.

The parts equal those of upstream's data catalog, so that events hold the same names and tags.
Source: flytepropeller pkg/controller/nodes/catalog/datacatalog/transformer.go, flyteplugins catalog/hashing.go,
flytepropeller pkg/compiler/transformers/k8s/utils.go (StripTypeMetadata).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Collection

from flyteidl.core import identifier_pb2, interface_pb2, literals_pb2, types_pb2
from google.protobuf.message import Message

from app.errors import InvalidArgument
from app.services.catalog import DATASET_PREFIX, SIGNATURE_CHARACTERS, CacheKey
from app.wire.go.digest import digest

_TAG = "flyte_cached-"
_HASH_CHARACTERS = (SIGNATURE_CHARACTERS - 2) // 2
# Only annotations with this field are part of the key.
_KEPT = "cache-key-metadata"
# The protobuf parsers refuse types that nest deeper.
_DEPTH_MAX = 100


def key_of(
    task: identifier_pb2.Identifier,
    interface: interface_pb2.TypedInterface,
    inputs: literals_pb2.LiteralMap,
    *,
    version: str,
    ignored: Collection[str] = (),
) -> CacheKey:
    """Return the cache key of the outputs of a task.

    Args:
        task: The task.
        interface: The interface of the task, or that of one index of a map (`index_interface`).
        inputs: The inputs.
        version: The cache version.
        ignored: Names of inputs that are not part of the key.

    Raises:
        InvalidArgument: The version is empty, or inputs or types have no JSON form.
    """
    version = version.strip(" ")
    if not version:
        raise InvalidArgument("the cache version (discovery_version) is empty")
    signature = "-".join(_hash(_stripped(one))[:_HASH_CHARACTERS] for one in (interface.inputs, interface.outputs))
    return CacheKey(
        task.project, task.domain, DATASET_PREFIX + task.name, f"{version}-{signature}", _tag(inputs, ignored)
    )


def index_interface(interface: interface_pb2.TypedInterface) -> interface_pb2.TypedInterface:
    """Return the interface for the key of one index of a map: the inputs are lists, the outputs single values."""
    single = interface_pb2.TypedInterface(inputs=interface.inputs)
    single.outputs.SetInParent()
    for name, variable in interface.outputs.variables.items():
        out = single.outputs.variables[name]
        out.CopyFrom(variable)
        if variable.type.WhichOneof("type") == "collection_type":
            # Copy first: CopyFrom clears the collection type, which holds the element type.
            element = types_pb2.LiteralType()
            element.CopyFrom(variable.type.collection_type)
            out.type.CopyFrom(element)
    return single


def dataset_id(key: CacheKey) -> identifier_pb2.Identifier:
    """Return the dataset of a key, as core.CatalogMetadata names it."""
    return identifier_pb2.Identifier(
        resource_type=identifier_pb2.DATASET,
        project=key.dataset_project,
        domain=key.dataset_domain,
        name=key.dataset_name,
        version=key.dataset_version,
    )


def _hash(message: Message) -> str:
    return urlsafe_b64encode(digest(message)).rstrip(b"=").decode()


def _tag(inputs: literals_pb2.LiteralMap, ignored: Collection[str]) -> str:
    kept = literals_pb2.LiteralMap()
    for name, literal in inputs.literals.items():
        if name not in ignored:
            kept.literals[name].CopyFrom(_reduced(literal))
    return _TAG + _hash(kept)


def _reduced(literal: literals_pb2.Literal) -> literals_pb2.Literal:
    """Return a literal with each literal in it that has a hash of its own replaced by that hash."""
    if literal.hash:
        return literals_pb2.Literal(hash=literal.hash)
    kind = literal.WhichOneof("value")
    reduced = literals_pb2.Literal()
    if kind == "collection":
        reduced.collection.SetInParent()
        reduced.collection.literals.extend(_reduced(one) for one in literal.collection.literals)
        return reduced
    if kind == "map":
        reduced.map.SetInParent()
        for name, one in literal.map.literals.items():
            reduced.map.literals[name].CopyFrom(_reduced(one))
        return reduced
    return literal


def _stripped(variables: interface_pb2.VariableMap) -> interface_pb2.VariableMap:
    """Return variables with their names and types only."""
    stripped = interface_pb2.VariableMap()
    for name, variable in variables.variables.items():
        out = stripped.variables[name]
        out.CopyFrom(variable)
        out.ClearField("description")
        if out.HasField("type"):
            _strip(out.type, 0)
    return stripped


def _strip(type: types_pb2.LiteralType, depth: int) -> None:
    """Remove the parts of a type that do not affect its values, at the places where upstream does."""
    if depth > _DEPTH_MAX:
        raise InvalidArgument(f"a type nests deeper than {_DEPTH_MAX} levels")
    type.ClearField("metadata")
    if type.HasField("annotation") and _KEPT not in type.annotation.annotations.fields:
        type.ClearField("annotation")
    for inner in type.structure.dataclass_type.values():
        _strip(inner, depth + 1)
    match type.WhichOneof("type"):
        case "union_type":
            for variant in type.union_type.variants:
                _strip(variant, depth + 1)
        case "map_value_type":
            _strip(type.map_value_type, depth + 1)
        case "collection_type":
            _strip(type.collection_type, depth + 1)
        case "structured_dataset_type":
            for column in type.structured_dataset_type.columns:
                if column.HasField("literal_type"):
                    _strip(column.literal_type, depth + 1)
