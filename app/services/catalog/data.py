"""The data of artifacts: one object each, with a LiteralMap of all outputs.

Source: datacatalog/pkg/manager/impl/artifact_data_store.go, which stores an object for each output.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from flyteidl.core import literals_pb2
from flyteidl.datacatalog import datacatalog_pb2
from google.protobuf.message import DecodeError

from app import errors, limited_log
from app.blobs import DOWNLOAD_LIMIT, BlobMissing, BlobOutside, BlobTooLarge
from app.runtime.context import Context
from app.services import literal_limits
from app.services.catalog.keys import DatasetKey, checked

FOLDER = ("metadata", "catalog")


def outputs_of(ctx: Context, data: Iterable[datacatalog_pb2.ArtifactData]) -> literals_pb2.LiteralMap:
    """Return the data of a request as outputs; of two values with the same name the last one counts, as upstream.

    Raises:
        InvalidArgument: There is no data, a name is missing, or the outputs are larger than outputs may be.
    """
    outputs = literals_pb2.LiteralMap()
    for one in data:
        outputs.literals[checked("artifactData name", one.name)].CopyFrom(one.value)
    if not outputs.literals:
        raise errors.InvalidArgument("missing artifactData")
    literal_limits.check(ctx.settings, "artifactData", outputs)
    return outputs


def data_of(outputs: literals_pb2.LiteralMap) -> list[datacatalog_pb2.ArtifactData]:
    """Return outputs as data of a reply."""
    return [datacatalog_pb2.ArtifactData(name=name, value=outputs.literals[name]) for name in sorted(outputs.literals)]


async def write(
    ctx: Context, key: DatasetKey, artifact_id: str, outputs: literals_pb2.LiteralMap
) -> dict[str, str | bytes]:
    """Store outputs and return the columns of their artifact that name the object.

    Raises:
        BlobError: The object cannot be stored.
    """
    content = outputs.SerializeToString(deterministic=True)
    digest = sha256(content).digest()
    # Names and ids may be longer than a part of a path, so hashes stand for them.
    artifact = sha256("\0".join((*key, artifact_id)).encode()).hexdigest()
    uri = ctx.blobs.uri(*FOLDER, key.dataset_project, key.dataset_domain, artifact, f"{digest.hex()}.pb")
    await ctx.blobs.write(uri, content)
    return {"output_uri": uri, "digest": digest}


async def read(ctx: Context, row: Any) -> literals_pb2.LiteralMap | None:
    """Return the outputs of an artifact; None, with a log line, where its object is missing or another one.

    Raises:
        BlobError: The store does not answer.
    """
    limit = ctx.settings.storage.limits.max_download_bytes
    try:
        content = await ctx.blobs.read(row.output_uri, bytes_max=limit, setting=DOWNLOAD_LIMIT)
        outputs = literals_pb2.LiteralMap.FromString(content)
        if sha256(outputs.SerializeToString(deterministic=True)).digest() == row.digest:
            return outputs
        reason = "the object does not hold the outputs that were cached"
    except (BlobMissing, BlobOutside, BlobTooLarge) as error:
        reason = error.message
    except DecodeError as error:
        reason = f"the object is no LiteralMap: {error}"
    dataset = (row.dataset_project, row.dataset_domain, row.dataset_name)
    limited_log.warning(
        "cached_outputs_invalid", key=dataset, dataset="/".join(dataset), artifact=row.artifact_id, reason=reason
    )
    return None
