"""Inputs and outputs of executions, nodes and attempts: inline up to a limit, beyond it as a signed address.

Proto: admin.UrlBlob, core.LiteralMap. Source: flyteadmin/pkg/common/util (GetInputs, GetOutputs).
"""

from __future__ import annotations

from typing import Any

import structlog
from flyteidl.admin import common_pb2
from flyteidl.core import literals_pb2
from google.protobuf.message import DecodeError

from app import errors
from app.blobs import BlobError, BlobTooLarge
from app.context import Context

log = structlog.get_logger(__name__)

Payload = tuple[common_pb2.UrlBlob, literals_pb2.LiteralMap]


async def at(ctx: Context, uri: str) -> Payload:
    """The literal map stored at a URI, with a signed address where addresses are on or the map is too large to inline.

    shape:  "" gives two empty messages; a missing or unreadable object gives an empty map and a line in the log
    units:  UrlBlob.bytes in bytes
    errors: INTERNAL failed to get object size … when addresses are on and the object is not there
    """
    blob, values = common_pb2.UrlBlob(), literals_pb2.LiteralMap()
    if not uri:
        return blob, values
    remote = ctx.settings.remote_data
    limit = remote.max_size_in_bytes
    if remote.signed_urls.enabled:
        await _sign(ctx, uri, blob, ttl_seconds=remote.signed_urls.duration_minutes * 60)
        if limit and blob.bytes >= limit:
            return blob, values
    try:
        raw = await ctx.blobs.read(uri, bytes_max=ctx.settings.storage.limits.max_download_bytes)
        values.ParseFromString(raw)
    except BlobTooLarge:
        # Deviates: upstream answers an empty map and nothing that leads to the data.
        if not remote.signed_urls.enabled:
            await _sign(ctx, uri, blob, ttl_seconds=int(ctx.settings.server.data_proxy.download.max_expires_in_seconds))
    except (BlobError, DecodeError) as error:
        # Parity: the call answers with what there is (upstream logs "failed to fetch … from remote").
        log.warning("payload_unreadable", uri=uri, reason=str(error), request_id=ctx.request_id)
        values.Clear()
    return blob, values


async def _sign(ctx: Context, uri: str, blob: common_pb2.UrlBlob, *, ttl_seconds: int) -> None:
    try:
        blob.bytes = await ctx.blobs.size(uri)
        blob.url = await ctx.blobs.sign_get(uri, ttl_seconds=ttl_seconds, endpoint=ctx.endpoint)
    except BlobError as error:
        raise errors.Internal(f"failed to get object size for {uri} with {error}") from error


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
