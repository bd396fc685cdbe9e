"""Store large literals as separate objects; their literal map has references, as flytekit's tasks write them.

Tasks offload their own outputs (flytekit reads two environment variables). The engine offloads literals of the maps
that it composes, such as the outputs of an array node, if a map would exceed storage.limits.maxDownloadMBs.
Proto: core.LiteralOffloadedMetadata. Source: flytepropeller pkg/controller/nodes/common/utils.go (OffloadLargeLiteral).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial

from flyteidl.core import literals_pb2

from app.blobs import DOWNLOAD_LIMIT, Blobs
from app.blobs.object_names import component
from app.compiler.inference import type_of
from app.settings import Settings
from app.wire.go.digest import digest

_MEGABYTE = 1024 * 1024
_READ_LIMIT = f"the larger of {DOWNLOAD_LIMIT} and FLYTEADMIN__ENGINE__LOCAL__OFFLOADED_LITERAL_MBS_MAX"
# A reference has some 300 bytes and the literal's type, so a smaller literal is not worth an object.
_BYTES_MIN = 64 * 1024


def environment_variables(settings: Settings) -> Mapping[str, str]:
    """Return the environment variables that make flytekit offload large outputs; none if offloading is off."""
    local, limit_mbs = settings.engine.local, settings.storage.limits.max_download_mbs
    least = local.offloaded_literal_mbs_min or max(1, limit_mbs // 2)
    if not local.offloaded_literal_mbs_max or not limit_mbs:
        return {}
    return {"_F_L_MIN_SIZE_MB": str(least), "_F_L_MAX_SIZE_MB": str(local.offloaded_literal_mbs_max)}


def bytes_max(settings: Settings) -> int:
    """Return the largest offloaded literal that is read, in bytes; 0 is no limit."""
    limit = settings.storage.limits.max_download_bytes
    return max(limit, settings.engine.local.offloaded_literal_mbs_max * _MEGABYTE) if limit else 0


async def offload(
    settings: Settings, blobs: Blobs, directory: str, values: literals_pb2.LiteralMap
) -> literals_pb2.LiteralMap:
    """Store the largest literals of a map below a directory, until the map fits into the size limit.

    A map with many small literals may still be too large afterwards. Its writer then refuses the map.

    Returns:
        A map with references, or the same map if it fits or offloading is off.

    Raises:
        BlobError: An object cannot be stored.
    """
    limit = settings.storage.limits.max_download_bytes
    if not limit or values.ByteSize() <= limit or not settings.engine.local.offloaded_literal_mbs_max:
        return values
    slim = literals_pb2.LiteralMap()
    slim.CopyFrom(values)
    for name in sorted(values.literals, key=lambda name: (-values.literals[name].ByteSize(), name)):
        literal = values.literals[name]
        if slim.ByteSize() <= limit or literal.ByteSize() < _BYTES_MIN:
            break
        inferred = type_of(literal)
        if inferred is None or literal.ByteSize() > bytes_max(settings):
            continue
        uri = f"{directory}/{component(name)}_offloaded_metadata.pb"
        await blobs.write(uri, literal.SerializeToString(deterministic=True))
        hash = literal.hash or urlsafe_b64encode(digest(literal)).rstrip(b"=").decode()
        slim.literals[name].Clear()
        slim.literals[name].hash = hash
        reference = slim.literals[name].offloaded_metadata
        reference.uri, reference.size_bytes = uri, literal.ByteSize()
        reference.inferred_type.CopyFrom(inferred)
    return slim


async def read_offloaded(settings: Settings, blobs: Blobs, literal: literals_pb2.Literal) -> literals_pb2.Literal:
    """Return the literal that a reference names; return any other literal unchanged.

    Raises:
        BlobError: The object cannot be read.
        DecodeError: The object is not a literal.
    """
    if not _is_reference(literal):
        return literal
    raw = await blobs.read(literal.offloaded_metadata.uri, bytes_max=bytes_max(settings), setting=_READ_LIMIT)
    return literals_pb2.Literal.FromString(raw)


async def read_offloaded_map(
    settings: Settings, blobs: Blobs, values: literals_pb2.LiteralMap
) -> literals_pb2.LiteralMap:
    """Return a map with every reference at its top level replaced by the literal; errors as read_offloaded."""
    return await map_references(values, partial(read_offloaded, settings, blobs))


async def map_references(
    values: literals_pb2.LiteralMap, read: Callable[[literals_pb2.Literal], Awaitable[literals_pb2.Literal]]
) -> literals_pb2.LiteralMap:
    """Return a map with every reference at its top level replaced by `read(reference)`.

    Returns:
        The same map if it has no references.
    """
    if not any(_is_reference(one) for one in values.literals.values()):
        return values
    result = literals_pb2.LiteralMap()
    for name, literal in values.literals.items():
        result.literals[name].CopyFrom(await read(literal) if _is_reference(literal) else literal)
    return result


def _is_reference(literal: literals_pb2.Literal) -> bool:
    return bool(literal.WhichOneof("value") == "offloaded_metadata")


async def replace_references(settings: Settings, blobs: Blobs, values: literals_pb2.LiteralMap) -> None:
    """Replace every reference in a map, at any depth, by the literal; errors as read_offloaded."""
    for reference in [one for literal in values.literals.values() for one in _references(literal)]:
        reference.CopyFrom(await read_offloaded(settings, blobs, reference))


def _references(literal: literals_pb2.Literal) -> Iterator[literals_pb2.Literal]:
    """Yield the references in a literal and in the elements of its collections and maps."""
    match literal.WhichOneof("value"):
        case "offloaded_metadata":
            yield literal
        case "collection":
            for one in literal.collection.literals:
                yield from _references(one)
        case "map":
            for one in literal.map.literals.values():
                yield from _references(one)


def equal_values(left: literals_pb2.LiteralMap, right: literals_pb2.LiteralMap) -> bool:
    """Return whether two maps have equal values; references with equal hashes may have different URIs."""
    return bool(left == right or _without_uris(left) == _without_uris(right))


def _without_uris(values: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    result = literals_pb2.LiteralMap()
    result.CopyFrom(values)
    for literal in result.literals.values():
        if literal.hash and literal.WhichOneof("value") == "offloaded_metadata":
            literal.offloaded_metadata.uri = ""
    return result
