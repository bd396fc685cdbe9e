"""Inputs and outputs of executions, nodes and attempts: inline, with a signed address where settings ask for one.

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

# Parity: with these schemes data comes inline whatever its size (shouldFetchData).
_ALWAYS_INLINE = ("none", "local")

Payload = tuple[common_pb2.UrlBlob, literals_pb2.LiteralMap]


async def at(ctx: Context, uri: str) -> Payload:
    """Return the literal map stored at a URI, and its signed address where remoteData.signedUrls is on.

    FlyteRemote cannot read an address with a query string, and flyteconsole reads none, so that without the setting
    none is given, as upstream does.

    shape:  "" gives two empty messages; a missing, unreadable or too large object gives an empty map and a line in the
            log
    units:  UrlBlob.bytes in bytes
    errors: INTERNAL failed to get object size … when addresses are on and the object is not there; UNAVAILABLE where
            the store does not answer
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
        # Parity: the call answers with what there is (upstream logs "failed to fetch … from remote").
        log.warning("payload_unreadable", uri=uri, reason=str(error), request_id=ctx.request_id)
        values.Clear()
    return blob, values


async def expand(ctx: Context, values: literals_pb2.LiteralMap) -> None:
    """Replace references to offloaded literals by the literals, as far as the map stays within the size limit.

    Clients such as flyteconsole do not follow references.
    """
    limit = ctx.settings.storage.limits.max_download_bytes
    for name, literal in sorted(values.literals.items()):
        if literal.WhichOneof("value") != "offloaded_metadata":
            continue
        if limit and values.ByteSize() + literal.offloaded_metadata.size_bytes > limit:
            continue
        try:
            whole = await offloading.read_offloaded(ctx.settings, ctx.blobs, literal)
        except (BlobMissing, BlobOutside, DecodeError) as error:
            log.warning("offloaded_literal_unreadable", variable=name, reason=str(error), request_id=ctx.request_id)
            continue
        if not limit or values.ByteSize() + whole.ByteSize() <= limit:
            values.literals[name].CopyFrom(whole)


async def _sign(ctx: Context, uri: str, blob: common_pb2.UrlBlob, *, ttl_seconds: int) -> None:
    try:
        blob.bytes = await ctx.blobs.size(uri)
        blob.url = await ctx.blobs.sign_get(uri, ttl_seconds=ttl_seconds, endpoint=ctx.endpoint)
    except BlobError as error:
        raise failed_call(error, f"failed to get object size for {uri} with {error}") from error


async def outputs_of(ctx: Context, closure: Any) -> Payload:
    """The outputs of a node's or task's closure (output_uri or inline output_data)."""
    kind = closure.WhichOneof("output_result")
    if kind == "output_data":
        return common_pb2.UrlBlob(), inline(ctx, closure.output_data)
    return await at(ctx, closure.output_uri if kind == "output_uri" else "")


def inline(ctx: Context, values: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    """Inline data as it is where its encoded size is below the limit, else an empty map."""
    limit = ctx.settings.remote_data.max_size_in_bytes
    if not limit or values.ByteSize() < limit:
        return values
    return literals_pb2.LiteralMap()
