"""Read the inputs and outputs of executions, nodes and attempts: inline, and as signed URLs if settings ask for them.

Proto: admin.UrlBlob, core.LiteralMap. Source: flyteadmin/pkg/common/util (GetInputs, GetOutputs).
"""

from __future__ import annotations

from typing import Any

import structlog
from flyteidl.admin import common_pb2
from flyteidl.core import literals_pb2
from google.protobuf.message import DecodeError

from app.blobs import DOWNLOAD_LIMIT, BlobError, BlobMissing, BlobOutside, BlobUnavailable, failed_call
from app.runtime.context import Context
from app.services import offloading

log = structlog.get_logger(__name__)

# Parity: with these schemes data of any size is returned inline (shouldFetchData).
_ALWAYS_INLINE = ("none", "local")

Payload = tuple[common_pb2.UrlBlob, literals_pb2.LiteralMap]


async def read_payload(ctx: Context, uri: str) -> Payload:
    """Return the literal map stored at a URI, and its signed URL if remoteData.signedUrls is enabled.

    The setting is off by default, as upstream: FlyteRemote cannot read a URL with a query string, and flyteconsole
    reads none.

    Returns:
        Two empty messages for the URI "". An empty map, and a line in the log, if the object is missing, unreadable or
        too large.

    Raises:
        errors.Internal: Signed URLs are enabled and the object does not exist.
        BlobUnavailable: The object store does not answer.
    """
    blob, values = common_pb2.UrlBlob(), literals_pb2.LiteralMap()
    if not uri:
        return blob, values
    remote = ctx.settings.remote_data
    limit = remote.max_size_in_bytes
    if remote.signed_urls.enabled:
        await _sign(ctx, uri, blob, ttl_seconds=remote.signed_urls.duration_minutes * 60)
        if limit and blob.bytes >= limit and remote.scheme not in _ALWAYS_INLINE:
            return blob, values
    try:
        raw = await ctx.blobs.read(
            uri, bytes_max=ctx.settings.storage.limits.max_download_bytes, setting=DOWNLOAD_LIMIT
        )
        values.ParseFromString(raw)
        await expand(ctx, values)
    except BlobUnavailable:
        raise
    except (BlobError, DecodeError) as error:
        # Parity: the call succeeds without the data (upstream logs "failed to fetch … from remote").
        log.warning("payload_unreadable", uri=uri, reason=str(error), request_id=ctx.request_id)
        values.Clear()
    return blob, values


async def expand(ctx: Context, values: literals_pb2.LiteralMap) -> None:
    """Replace references to offloaded literals by the literals while the map stays within the size limit.

    Clients such as flyteconsole do not read referenced objects.
    """
    limit = ctx.settings.storage.limits.max_download_bytes
    for name, literal in sorted(values.literals.items()):
        if literal.WhichOneof("value") != "offloaded_metadata":
            continue
        if limit and values.ByteSize() + literal.offloaded_metadata.size_bytes > limit:
            continue
        if ctx.access is not None and not ctx.access.may_read(literal.offloaded_metadata.uri):
            # A launch may name any object as input.
            continue
        try:
            content = await offloading.read_offloaded(ctx.settings, ctx.blobs, literal)
        except (BlobMissing, BlobOutside, DecodeError) as error:
            log.warning("offloaded_literal_unreadable", variable=name, reason=str(error), request_id=ctx.request_id)
            continue
        if not limit or values.ByteSize() + content.ByteSize() <= limit:
            values.literals[name].CopyFrom(content)


async def _sign(ctx: Context, uri: str, blob: common_pb2.UrlBlob, *, ttl_seconds: int) -> None:
    try:
        blob.bytes = await ctx.blobs.size(uri)
        blob.url = await ctx.blobs.sign_get(uri, ttl_seconds=ttl_seconds, endpoint=ctx.endpoint)
    except BlobError as error:
        raise failed_call(error, f"failed to get object size for {uri} with {error}") from error


async def outputs_of(ctx: Context, closure: Any) -> Payload:
    """Return the outputs that the closure of a node or attempt has, inline or as a URI."""
    kind = closure.WhichOneof("output_result")
    if kind == "output_data":
        return common_pb2.UrlBlob(), inline_if_small(ctx, closure.output_data)
    return await read_payload(ctx, closure.output_uri if kind == "output_uri" else "")


def inline_if_small(ctx: Context, values: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    """Return inline data if its encoded size is below remoteData.maxSizeInBytes, else an empty map."""
    limit = ctx.settings.remote_data.max_size_in_bytes
    if not limit or values.ByteSize() < limit:
        return values
    return literals_pb2.LiteralMap()
