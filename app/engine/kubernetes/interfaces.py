"""Types of interfaces without what FlytePropeller does not need, so that objects stay small.

Source: flytepropeller/pkg/compiler/transformers/k8s/utils.go (StripInterfaceTypeMetadata).
"""

from __future__ import annotations

from flyteidl.core import interface_pb2, types_pb2

# Types with this annotation keep it: FlytePropeller computes cache keys from it.
_CACHE_KEY_ANNOTATION = "cache-key-metadata"


def strip_interface(interface: interface_pb2.TypedInterface) -> None:
    """Remove descriptions and the metadata of types from an interface, in place."""
    for part in (interface.inputs, interface.outputs):
        for name in part.variables:
            variable = part.variables[name]
            variable.description = ""
            if variable.HasField("type"):
                strip_type(variable.type)


def strip_type(kind: types_pb2.LiteralType) -> None:
    """Remove metadata and annotations from a type and the types inside it, in place.

    Parity: types of schema columns and of literals keep them.
    """
    kind.ClearField("metadata")
    if kind.HasField("annotation") and _CACHE_KEY_ANNOTATION not in kind.annotation.annotations.fields:
        kind.ClearField("annotation")
    if kind.HasField("structure"):
        for name in kind.structure.dataclass_type:
            strip_type(kind.structure.dataclass_type[name])
    match kind.WhichOneof("type"):
        case "union_type":
            for variant in kind.union_type.variants:
                strip_type(variant)
        case "map_value_type":
            strip_type(kind.map_value_type)
        case "collection_type":
            strip_type(kind.collection_type)
        case "structured_dataset_type":
            for column in kind.structured_dataset_type.columns:
                strip_type(column.literal_type)
