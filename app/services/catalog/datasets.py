"""The RPCs CreateDataset and GetDataset. Source: datacatalog/pkg/manager/impl/dataset_manager.go."""

from __future__ import annotations

from collections import Counter
from typing import Any

from flyteidl.datacatalog import datacatalog_pb2

from app import errors
from app.database.base import UnitOfWork
from app.database.catalog_tables import CatalogDataset
from app.runtime.context import Context
from app.services.catalog.keys import DatasetKey, checked, dataset_id, dataset_key
from app.services.checks import missing_entity

TASK_VERSION = "task-version"


async def create_dataset(
    ctx: Context, request: datacatalog_pb2.CreateDatasetRequest
) -> datacatalog_pb2.CreateDatasetResponse:
    """Create a dataset.

    Raises:
        errors.InvalidArgument: A part of the id is missing, or a partition key is empty or given twice.
        errors.AlreadyExists: The dataset exists. FlytePropeller takes that for success.

    Source: upstream datasetManager.CreateDataset.
    """
    dataset = request.dataset
    key = dataset_key(ctx, dataset, "id")
    _check_partition_keys(dataset.partitionKeys)
    stored = datacatalog_pb2.Dataset(metadata=dataset.metadata, partitionKeys=dataset.partitionKeys)
    await ctx.db.insert(
        CatalogDataset,
        created_at=ctx.now,
        updated_at=ctx.now,
        **key._asdict(),
        uuid=checked("UUID", dataset.id.UUID) if dataset.id.UUID else None,
        task_version=stored.metadata.key_map.get(TASK_VERSION, ""),
        dataset=stored.SerializeToString(deterministic=True),
    )
    return datacatalog_pb2.CreateDatasetResponse()


async def get_dataset(ctx: Context, request: datacatalog_pb2.GetDatasetRequest) -> datacatalog_pb2.GetDatasetResponse:
    """Return a dataset.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: There is no such dataset. FlytePropeller takes that for a cache miss.

    Source: upstream datasetManager.GetDataset.
    """
    row = await find_dataset(ctx.db, dataset_key(ctx, request), request.dataset.UUID)
    return datacatalog_pb2.GetDatasetResponse(dataset=to_message(row))


async def find_dataset(db: UnitOfWork, key: DatasetKey, uuid: str = "") -> Any:
    """Return the row of a dataset.

    Args:
        db: The unit of work.
        key: The key.
        uuid: The UUID that the dataset must have, "" for any.

    Raises:
        NotFound: There is none.
    """
    row = await db.find(CatalogDataset, **key._asdict())
    if row is None or (uuid and uuid != (row.uuid or key.uuid)):
        raise missing_entity("Dataset", dataset_id(key))
    return row


def to_message(row: Any) -> datacatalog_pb2.Dataset:
    """Return the message of a row."""
    key = DatasetKey(*(getattr(row, name) for name in DatasetKey._fields))
    message = datacatalog_pb2.Dataset()
    if row.dataset is not None:
        message.ParseFromString(row.dataset)
    else:
        message.metadata.key_map[TASK_VERSION] = row.task_version
    message.id.CopyFrom(dataset_id(key, row.uuid or key.uuid))
    return message


def _check_partition_keys(keys: Any) -> None:
    counts = Counter(keys)
    if any(count > 1 for count in counts.values()):
        shown = " ".join(f"{key}:{count}" for key, count in sorted(counts.items()))
        raise errors.InvalidArgument(
            f"invalid value for partitionKey, value:[Keys are not unique, occurrence count: map[{shown}]]"
        )
    for key in counts:
        checked("partitionKey", key)
