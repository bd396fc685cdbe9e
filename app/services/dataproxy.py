"""The data proxy: signed URLs for uploads and downloads, and literals by flyte:// URL.

Proto: flyteidl/service/dataproxy.proto.
"""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from typing import Any

from flyteidl.admin import node_execution_pb2, task_execution_pb2
from flyteidl.core import identifier_pb2, literals_pb2
from flyteidl.service import dataproxy_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from app import errors
from app.blobs import DOWNLOAD_LIMIT, BlobError, BlobMissing, BlobOutside, failed_call
from app.blobs.object_names import file_name_problem
from app.database import schema
from app.runtime.context import Context
from app.services import execution_ids, payloads
from app.services.checks import missing_entity
from app.wire import flyte_url
from app.wire.go.goparse import go_duration
from app.wire.text import text

_NANOSECONDS = 10**9
_DURATION_SECONDS_MAX = 315_576_000_000
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


async def create_upload_location(
    ctx: Context, request: dataproxy_pb2.CreateUploadLocationRequest
) -> dataproxy_pb2.CreateUploadLocationResponse:
    """Return a signed URL for one upload into the folder of a project-domain.

    The default and the maximum of expires_in is server.dataProxy.upload.maxExpiresIn.

    Raises:
        errors.InvalidArgument: Project, domain or the name of the file is missing or invalid.
        errors.AlreadyExists: The request names an object that exists with another MD5.

    Source: upstream Service.CreateUploadLocation.
    """
    if not request.project or not request.domain:
        raise errors.InvalidArgument("project and domain are required parameters")
    if not request.filename_root and not request.content_md5:
        raise errors.InvalidArgument("content_md5 or filename_root is a required parameter")
    upload = ctx.settings.server.data_proxy.upload
    root = _steps("filename_root", request.filename_root)
    filename = _steps("filename", request.filename)
    folder = _folder(ctx, request)
    root = root or [base64.b32encode(request.content_md5).decode()]
    if request.filename_root and filename:
        await _check_free(ctx, ctx.blobs.upload_uri(folder, [*root, *filename]), request.content_md5)
    lifetime_ns = _upload_lifetime(request, _ns(upload.max_expires_in_seconds))
    if not filename:
        filename = [execution_ids.random_name(upload.default_file_name_length)]
    uri = ctx.blobs.upload_uri(folder, [*root, *filename])
    # Deviates: upstream signs URLs to which no store accepts an upload.
    ctx.blobs.check_name(uri)
    try:
        signed_url = await ctx.blobs.sign_put(
            uri,
            ttl_seconds=_whole_seconds(lifetime_ns),
            content_md5=request.content_md5,
            with_metadata=request.add_content_md5_metadata,
            endpoint=ctx.endpoint,
        )
    except BlobError as error:
        raise failed_call(error, f"failed to create a signed url. Error: {error}") from error
    return dataproxy_pb2.CreateUploadLocationResponse(
        signed_url=signed_url,
        # flytekit decodes a file's native_url, so a % in the name is encoded.
        native_url=uri.replace("%", "%25"),
        expires_at=_after(ctx, lifetime_ns),
        headers=ctx.blobs.upload_headers(request.content_md5, with_metadata=request.add_content_md5_metadata),
    )


async def create_download_location(
    ctx: Context, request: dataproxy_pb2.CreateDownloadLocationRequest
) -> dataproxy_pb2.CreateDownloadLocationResponse:
    """Return a signed URL for downloading an object, which need not exist.

    The default and the maximum of expires_in is server.dataProxy.download.maxExpiresIn.

    Raises:
        errors.InvalidArgument: The URL or expires_in is invalid, or the object is outside the server's storage.

    Source: upstream Service.CreateDownloadLocation.
    """
    refused = "error while validating request: "
    lifetime_ns = _download_lifetime(ctx, request, f"{refused}expiresIn is invalid. Error: ")
    url = request.native_url
    if "://" in url and not ctx.blobs.contains(url) and (_BROKEN_ESCAPE.search(url) or _CONTROL.search(url)):
        raise errors.InvalidArgument(f"{refused}failed to parse native_url [{url}]")
    # Deviates: upstream signs URLs of every bucket and key that its credentials can read.
    if not url:
        raise errors.InvalidArgument(f"{refused}native_url is a required parameter")
    return dataproxy_pb2.CreateDownloadLocationResponse(
        signed_url=await _signed(ctx, url, lifetime_ns, refused), expires_at=_after(ctx, lifetime_ns)
    )


async def create_download_link(
    ctx: Context, request: dataproxy_pb2.CreateDownloadLinkRequest
) -> dataproxy_pb2.CreateDownloadLinkResponse:
    """Return a signed URL of the deck of a node, also in the deprecated fields of the response.

    Raises:
        errors.InvalidArgument: The request is invalid, or the node does not exist.
        errors.NotFound: The node has no deck, or the deck's object does not exist.

    Source: upstream Service.CreateDownloadLink.
    """
    refused = "error while validating request. Error: "
    lifetime_ns = _download_lifetime(ctx, request, f"{refused}expiresIn is invalid. Error: ")
    if request.artifact_type == dataproxy_pb2.ARTIFACT_TYPE_UNDEFINED:
        raise errors.InvalidArgument(f"{refused}invalid artifact type [ARTIFACT_TYPE_UNDEFINED]")
    if request.WhichOneof("source") is None:
        raise errors.InvalidArgument(f"{refused}source is required. Provided nil")
    id = request.node_execution_id
    try:
        row = await _node(ctx, id)
    except errors.FlyteError as error:
        # Parity: every error of the lookup becomes INVALID_ARGUMENT.
        raise errors.InvalidArgument(f"failed to find node execution [{text(id)}]. Error: {error}") from error
    wanted = dataproxy_pb2.CreateDownloadLinkRequest()
    wanted.CopyFrom(request)
    wanted.expires_in.FromNanoseconds(lifetime_ns)
    signed = await _deck(ctx, row, wanted, lifetime_ns)
    return dataproxy_pb2.CreateDownloadLinkResponse(
        signed_url=signed.signed_url, expires_at=signed.expires_at, pre_signed_urls=signed
    )


async def get_data(ctx: Context, request: dataproxy_pb2.GetDataRequest) -> dataproxy_pb2.GetDataResponse:
    """Return the inputs or outputs that a flyte:// URL names, one literal of these, or a signed URL of a deck.

    Raises:
        errors.InvalidArgument: The URL is malformed, or the literal or attempt does not exist.
        errors.NotFound: The node or the object does not exist.
        errors.ResourceExhausted: The data exceeds storage.limits.maxDownloadMBs.

    Source: upstream Service.GetData.
    """
    refused = "failed to validate resolve artifact request. Error: "
    if not request.flyte_url:
        raise errors.InvalidArgument(f"{refused}source is required. Provided empty string")
    if not request.flyte_url.startswith(flyte_url.SCHEME):
        raise errors.InvalidArgument(f"{refused}request does not start with the correct prefix")
    try:
        artifact = flyte_url.parse(request.flyte_url)
    except errors.InvalidArgument as error:
        raise errors.InvalidArgument(f"failed to parse artifact url Error: {error}") from error
    if artifact.attempt is not None:
        return await _data_of_attempt(ctx, artifact, artifact.attempt)
    row = await _node(ctx, artifact.node)
    if artifact.kind == "d":
        wanted = dataproxy_pb2.CreateDownloadLinkRequest(
            artifact_type=dataproxy_pb2.ARTIFACT_TYPE_DECK, node_execution_id=artifact.node
        )
        lifetime_ns = _ns(ctx.settings.server.data_proxy.download.max_expires_in_seconds)
        wanted.expires_in.FromNanoseconds(lifetime_ns)
        return dataproxy_pb2.GetDataResponse(pre_signed_urls=await _deck(ctx, row, wanted, lifetime_ns))
    closure = node_execution_pb2.NodeExecutionClosure.FromString(row.closure or b"")
    literals = await _literals(ctx, artifact.kind, row.input_uri, closure)
    return _picked(literals, artifact.literal, f"node execution [{text(artifact.node)}]")


# Uploads.


def _steps(field: str, value: str) -> list[str]:
    """Return the steps of a client's path without empty steps and `.`.

    Deviates: `..` is refused. Upstream resolves it, even to a folder outside the project's.
    """
    steps = [step for step in value.split("/") if step not in ("", ".")]
    if ".." in steps:
        raise errors.InvalidArgument(f"{field} [{value}] must not contain '..'")
    if value and not steps:
        raise errors.InvalidArgument(f"{field} [{value}] names no file")
    for step in steps:
        if problem := file_name_problem(step):
            raise errors.InvalidArgument(f"{field} [{value}] {problem}")
    return steps


def _folder(ctx: Context, request: dataproxy_pb2.CreateUploadLocationRequest) -> list[str]:
    """Return the steps of the folder of the request's project and domain."""
    prefix = [step for step in ctx.settings.server.data_proxy.upload.storage_prefix.split("/") if step]
    folder = [*prefix, *filter(None, (request.org, request.project, request.domain))]
    # Deviates: upstream accepts uploads of an organisation or project with the name of a folder of its own data.
    if folder[0] in ("metadata", *ctx.settings.flyteadmin.metadata_storage_prefix[:1]) and not prefix:
        raise errors.InvalidArgument(
            f"[{folder[0]}] is the folder of the server's own data; nothing can be uploaded to it"
        )
    return folder


async def _check_free(ctx: Context, uri: str, md5: bytes) -> None:
    """Raise ALREADY_EXISTS if an object exists at the URI and has another MD5."""
    try:
        same = await ctx.blobs.matches_md5(uri, md5) if md5 else not await ctx.blobs.exists(uri)
    except BlobMissing:
        return
    except BlobError as error:
        raise failed_call(error, f"failed to check if file exists at location [{uri}], Error: {error}") from error
    if not same:
        raise errors.AlreadyExists(
            f"file already exists at location [{uri}], specify a matching hash if you wish to rewrite"
        )


def _upload_lifetime(request: dataproxy_pb2.CreateUploadLocationRequest, max_ns: int) -> int:
    if not request.HasField("expires_in"):
        return max_ns
    expires_in = request.expires_in
    if not _is_valid(expires_in):
        raise errors.InvalidArgument(f"expiresIn [{text(expires_in)}] is invalid")
    lifetime_ns = _duration_ns(expires_in)
    if lifetime_ns > max_ns:
        raise errors.InvalidArgument(
            f"expiresIn [{go_duration(lifetime_ns)}] cannot exceed max allowed expiration [{go_duration(max_ns)}]"
        )
    # Deviates: upstream answers INTERNAL, because only its signer refuses such a lifetime.
    if lifetime_ns <= 0:
        raise errors.InvalidArgument(f"expiresIn [{go_duration(lifetime_ns)}] must be greater than 0")
    return lifetime_ns


# Downloads.


def _download_lifetime(ctx: Context, request: Any, prefix: str) -> int:
    """Return the lifetime of a download URL in nanoseconds (upstream validateDuration)."""
    max_ns = _ns(ctx.settings.server.data_proxy.download.max_expires_in_seconds)
    if not request.HasField("expires_in"):
        return max_ns
    expires_in = request.expires_in
    if not _is_valid(expires_in):
        raise errors.InvalidArgument(f"{prefix}input duration [{text(expires_in)}] is invalid")
    lifetime_ns = _duration_ns(expires_in)
    shown = go_duration(lifetime_ns)
    if lifetime_ns < 0:
        raise errors.InvalidArgument(f"{prefix}input duration [{shown}] should not less than 0")
    if lifetime_ns > max_ns:
        raise errors.InvalidArgument(
            f"{prefix}input duration [{shown}] cannot exceed max allowed expiration [{go_duration(max_ns)}]"
        )
    # Deviates: upstream answers INTERNAL, because only its signer refuses such a lifetime.
    if lifetime_ns == 0:
        raise errors.InvalidArgument(f"{prefix}input duration [{shown}] must be greater than 0")
    return lifetime_ns


async def _deck(
    ctx: Context, row: Any, request: dataproxy_pb2.CreateDownloadLinkRequest, lifetime_ns: int
) -> dataproxy_pb2.PreSignedURLs:
    """Return a signed URL of the deck of a node.

    Raises:
        errors.NotFound: The node has no deck, or the deck's object does not exist.
        errors.InvalidArgument: The deck is outside the server's storage.
    """
    uri = ""
    if request.artifact_type == dataproxy_pb2.ARTIFACT_TYPE_DECK:
        uri = node_execution_pb2.NodeExecutionClosure.FromString(row.closure or b"").deck_uri
    if not uri:
        raise errors.NotFound(f"no deckUrl found for request [{text(request)}]")
    try:
        present = await ctx.blobs.exists(uri)
    except BlobOutside as error:
        raise errors.InvalidArgument(f"the deck cannot be shown: {error}") from error
    except BlobError as error:
        raise failed_call(error, f"failed to head object before signing url. Error: {error}") from error
    if not present:
        raise errors.NotFound("object not found")
    signed_url = await _signed(ctx, uri, lifetime_ns, "the deck cannot be shown: ")
    return dataproxy_pb2.PreSignedURLs(signed_url=[signed_url], expires_at=_after(ctx, lifetime_ns))


async def _signed(ctx: Context, uri: str, lifetime_ns: int, refused: str) -> str:
    try:
        return await ctx.blobs.sign_get(uri, ttl_seconds=_whole_seconds(lifetime_ns), endpoint=ctx.endpoint)
    except BlobOutside as error:
        raise errors.InvalidArgument(f"{refused}{error}") from error
    except BlobError as error:
        raise failed_call(error, f"failed to create a signed url. Error: {error}") from error


# Data by URL.


async def _node(ctx: Context, id: identifier_pb2.NodeExecutionIdentifier) -> Any:
    """Return the row of a node. Deviates: upstream does not refuse an empty part and finds a node of any project."""
    if not id.node_id:
        raise errors.missing("node_id")
    execution_ids.check_execution_id(id.execution_id)
    row = await ctx.db.find(schema.NodeExecution, columns=("input_uri", "closure"), **execution_ids.node_key(id))
    if row is None:
        raise missing_entity("node execution", id)
    return row


async def _data_of_attempt(ctx: Context, artifact: flyte_url.Artifact, attempt: int) -> dataproxy_pb2.GetDataResponse:
    rows = await ctx.db.find_all(schema.TaskExecution, **execution_ids.node_key(artifact.node), retry_attempt=attempt)
    id = identifier_pb2.TaskExecutionIdentifier(node_execution_id=artifact.node, retry_attempt=attempt)
    if not rows:
        raise errors.InvalidArgument(f"no task executions were listed [{text(id)}]. Error: <nil>")
    if artifact.kind == "d":
        raise errors.InvalidArgument("deck type cannot be specified with a retry attempt, just use the node instead")
    row = min(rows, key=lambda row: row.id)
    id.task_id.CopyFrom(
        identifier_pb2.Identifier(
            resource_type=identifier_pb2.TASK,
            project=row.project,
            domain=row.domain,
            name=row.name,
            version=row.version,
        )
    )
    closure = task_execution_pb2.TaskExecutionClosure.FromString(row.closure or b"")
    literals = await _literals(ctx, artifact.kind, row.input_uri, closure)
    return _picked(literals, artifact.literal, f"task execution [{text(id)}]")


async def _literals(ctx: Context, kind: str, input_uri: str | None, closure: Any) -> literals_pb2.LiteralMap:
    """Return the inputs or outputs of a node or attempt, an empty map if it has none yet.

    Deviates: upstream returns an empty map if the object is missing, unreadable or too large.

    Raises:
        errors.NotFound: The object does not exist.
        errors.ResourceExhausted: The object is too large.
        errors.InvalidArgument: The object is outside the server's storage.
        errors.Internal: The object cannot be read.
    """
    if kind == "o" and closure.WhichOneof("output_result") == "output_data":
        return closure.output_data
    uri = input_uri if kind == "i" else closure.output_uri
    literals = literals_pb2.LiteralMap()
    if uri:
        raw = await ctx.blobs.read(
            uri, bytes_max=ctx.settings.storage.limits.max_download_bytes, setting=DOWNLOAD_LIMIT
        )
        try:
            literals.ParseFromString(raw)
        except DecodeError as error:
            raise errors.Internal(f"object [{uri}] is no LiteralMap") from error
        await payloads.expand(ctx, literals)
    return literals


def _picked(literals: literals_pb2.LiteralMap, name: str, owner: str) -> dataproxy_pb2.GetDataResponse:
    if not name:
        return dataproxy_pb2.GetDataResponse(literal_map=literals)
    if name not in literals.literals:
        raise errors.InvalidArgument(f"name [{name}] not found in {owner}")
    return dataproxy_pb2.GetDataResponse(literal=literals.literals[name])


# Durations, in nanoseconds as Go counts them.


def _ns(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)


def _whole_seconds(duration_ns: int) -> int:
    return -(-duration_ns // _NANOSECONDS)


def _is_valid(duration: Duration) -> bool:
    """Return whether Go accepts a duration. Source: protobuf-go durationpb.Duration.IsValid."""
    signs_agree = duration.seconds * duration.nanos >= 0
    return abs(duration.seconds) <= _DURATION_SECONDS_MAX and abs(duration.nanos) < _NANOSECONDS and signs_agree


def _duration_ns(duration: Duration) -> int:
    """Return a duration in nanoseconds, limited to int64 (292 years) as Go's time.Duration."""
    return max(-(2**63), min(2**63 - 1, duration.seconds * _NANOSECONDS + duration.nanos))


def _after(ctx: Context, duration_ns: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(ctx.now + timedelta(microseconds=duration_ns // 1000))
    return stamp
