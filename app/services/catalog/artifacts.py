"""The RPCs CreateArtifact, GetArtifact and UpdateArtifact. Source: datacatalog/pkg/manager/impl/artifact_manager.go.

The data of an artifact is one object with a LiteralMap, as the local engine's outputs are, so that both read what the
other one has cached. New data is a new object, so that a reader never finds one without the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flyteidl.datacatalog import datacatalog_pb2
from google.protobuf import timestamp_pb2
from sqlalchemy import bindparam, select

from app import errors
from app.database import schema
from app.database.base import UnitOfWork, already_exists
from app.database.catalog_tables import CatalogArtifact, CatalogPartition, CatalogTag
from app.database.statements import Statement
from app.runtime.context import Context
from app.services.catalog import data, producers
from app.services.catalog.datasets import find_dataset, to_message
from app.services.catalog.entries import find_artifact
from app.services.catalog.keys import CacheKey, DatasetKey, check_length, checked, dataset_id, dataset_key
from app.services.checks import missing_entity

_artifacts = schema.table(CatalogArtifact)
_OF_ID = select(_artifacts).where(_artifacts.c.artifact_id == bindparam("artifact_id"))
_NEWEST = Statement(_OF_ID.order_by(_artifacts.c.id.desc()).limit(1))


async def create_artifact(
    ctx: Context, request: datacatalog_pb2.CreateArtifactRequest
) -> datacatalog_pb2.CreateArtifactResponse:
    """Store an artifact of a dataset. It is found by its id, and by tags that AddTag gives it.

    Raises:
        errors.InvalidArgument: The id, the data or a part of the dataset's id is missing, the data is too large, or
            the partitions are not those of the dataset.
        errors.NotFound: The dataset does not exist.
        errors.AlreadyExists: The dataset has an artifact with this id.

    Source: upstream artifactManager.CreateArtifact.
    """
    if not request.HasField("artifact"):
        raise errors.InvalidArgument("missing artifact")
    artifact = request.artifact
    key = dataset_key(ctx, artifact)
    checked("artifactID", artifact.id)
    check_length(ctx, (*key, artifact.id, *(partition.key for partition in artifact.partitions)))
    outputs = data.outputs_of(ctx, artifact.data)
    dataset = await find_dataset(ctx.db, key, artifact.dataset.UUID)
    _check_partitions(list(to_message(dataset).partitionKeys), artifact.partitions)
    row = {**key._asdict(), "artifact_id": artifact.id}
    if await ctx.db.find(CatalogArtifact, columns=("id",), **row) is not None:
        raise already_exists("catalog_artifacts_pkey")
    stored = await data.write(ctx, key, artifact.id, outputs)
    made = {"created_at": ctx.now, "updated_at": ctx.now}
    producer = producers.columns_of(artifact.metadata, key, dataset.task_version)
    details = artifact.metadata.SerializeToString(deterministic=True)
    await ctx.db.insert(CatalogArtifact, **row, **made, **stored, **producer, details=details)
    for partition in artifact.partitions:
        await ctx.db.insert(CatalogPartition, **row, **made, key=partition.key, value=partition.value)
    return datacatalog_pb2.CreateArtifactResponse()


async def get_artifact(
    ctx: Context, request: datacatalog_pb2.GetArtifactRequest
) -> datacatalog_pb2.GetArtifactResponse:
    """Return an artifact with its data, by its id or by one of its tags, which is then the first of its tags.

    Raises:
        errors.InvalidArgument: Id and tag, or a part of the dataset's id is missing.
        errors.NotFound: There is no such artifact. FlytePropeller takes that for a cache miss.
            Deviates: an artifact whose data is missing is not found. Upstream answers INTERNAL, whereupon
            FlytePropeller fails each execution that looks for it.

    Source: upstream artifactManager.GetArtifact.
    """
    row = await _find(ctx, request)
    outputs = await data.read(ctx, row)
    if outputs is None:
        raise missing_entity("Artifact", _named(row))
    tag = request.tag_name if request.WhichOneof("query_handle") == "tag_name" else ""
    artifact = await artifact_message(ctx.db, row, first=tag)
    artifact.data.extend(data.data_of(outputs))
    return datacatalog_pb2.GetArtifactResponse(artifact=artifact)


async def update_artifact(
    ctx: Context, request: datacatalog_pb2.UpdateArtifactRequest
) -> datacatalog_pb2.UpdateArtifactResponse:
    """Replace data and metadata of an artifact. It keeps its id, its tags and its time of creation.

    Raises:
        errors.InvalidArgument: Id and tag, the data or a part of the dataset's id is missing, or the data is too large.
        errors.NotFound: There is no such artifact. FlytePropeller creates it then.

    Source: upstream artifactManager.UpdateArtifact.
    """
    outputs = data.outputs_of(ctx, request.data)
    row = await _find(ctx, request)
    key = _dataset_of(row)
    stored = await data.write(ctx, key, row.artifact_id, outputs)
    producer = producers.columns_of(request.metadata, key, row.task_version)
    changed = await ctx.db.update(
        CatalogArtifact,
        {**key._asdict(), "artifact_id": row.artifact_id},
        updated_at=ctx.now,
        **stored,
        **producer,
        details=request.metadata.SerializeToString(deterministic=True),
    )
    if not changed:
        raise missing_entity("Artifact", _named(row))
    return datacatalog_pb2.UpdateArtifactResponse(artifact_id=row.artifact_id)


async def find_by_id(db: UnitOfWork, key: DatasetKey | None, artifact_id: str) -> Any:
    """Return the row of an artifact; without a dataset the newest one with this id. Raises NotFound without one."""
    if key is None:
        row = await db.one(_NEWEST, artifact_id=artifact_id)
    else:
        row = await db.find(CatalogArtifact, **key._asdict(), artifact_id=artifact_id)
    if row is None:
        wanted = datacatalog_pb2.Artifact(id=artifact_id)
        if key is not None:
            wanted.dataset.CopyFrom(dataset_id(key))
        raise missing_entity("Artifact", wanted)
    return row


async def artifact_message(db: UnitOfWork, row: Any, *, first: str = "") -> datacatalog_pb2.Artifact:
    """Return the message of a row without the data.

    Args:
        db: The unit of work.
        row: The row of catalog_artifacts.
        first: The tag to name first.
    """
    key, artifact_id = _dataset_of(row), row.artifact_id
    dataset = to_message(await find_dataset(db, key)).id
    message = datacatalog_pb2.Artifact(id=artifact_id, dataset=dataset, metadata=producers.metadata_of(row))
    created_at = timestamp_pb2.Timestamp()
    created_at.FromDatetime(row.created_at)
    message.created_at.CopyFrom(created_at)
    where = {**key._asdict(), "artifact_id": artifact_id}
    for partition in sorted(await db.find_all(CatalogPartition, **where), key=lambda one: one.id):
        message.partitions.add(key=partition.key, value=partition.value)
    tags = await db.find_all(CatalogTag, columns=("id", "tag"), **where)
    for tag in sorted(tags, key=lambda one: (one.tag != first, one.id)):
        message.tags.add(name=tag.tag, artifact_id=artifact_id, dataset=dataset)
    return message


async def _find(ctx: Context, request: Any) -> Any:
    """Return the row that a request names by id or tag. Raises INVALID_ARGUMENT and NOT_FOUND."""
    handle = request.WhichOneof("query_handle")
    if handle is None:
        raise errors.InvalidArgument("missing one of artifactID/tagName")
    if handle == "artifact_id":
        key = dataset_key(ctx, request) if request.HasField("dataset") else None
        return await find_by_id(ctx.db, key, checked("artifactID", request.artifact_id))
    key = dataset_key(ctx, request)
    row = await find_artifact(ctx.db, CacheKey(*key, checked("tagName", request.tag_name)))
    if row is None:
        raise missing_entity("Tag", datacatalog_pb2.Tag(name=request.tag_name, dataset=dataset_id(key)))
    return row


def _dataset_of(row: Any) -> DatasetKey:
    return DatasetKey(*(getattr(row, name) for name in DatasetKey._fields))


def _named(row: Any) -> datacatalog_pb2.Artifact:
    return datacatalog_pb2.Artifact(id=row.artifact_id, dataset=dataset_id(_dataset_of(row)))


def _check_partitions(keys: list[str], given: Sequence[datacatalog_pb2.Partition]) -> None:
    """Raise INVALID_ARGUMENT unless an artifact has one value for each partition key of its dataset."""
    if len(keys) != len(given):
        raise errors.InvalidArgument(
            f"Partition key mismatch, dataset keys: {keys}, artifact Partitions: {[one.key for one in given]}"
        )
    for number, partition in enumerate(given):
        checked(f"partitionKey[{number}]", partition.key)
        checked(f"partitionValue[{number}]", partition.value)
    if sorted(keys) != sorted(partition.key for partition in given):
        found = {partition.key for partition in given}
        shown = " ".join(f"{key}:{str(key in found).lower()}" for key in sorted(keys))
        raise errors.InvalidArgument(
            f"Artifact partition assignment does not match dataset partition keys: map[{shown}]"
        )
