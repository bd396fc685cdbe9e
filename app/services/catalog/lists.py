"""The RPCs ListDatasets and ListArtifacts.

Pages are in the order of creation. A token is the id of the last row of a page, so that rows inserted meanwhile are
neither repeated nor skipped. Deviates: upstream's tokens are offsets, and its last page has one too.
Source: datacatalog/pkg/repositories/transformers/{filters,pagination}.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flyteidl.core import literals_pb2
from flyteidl.datacatalog import datacatalog_pb2
from sqlalchemy import ColumnElement, Table, exists, select

from app import errors
from app.database import schema
from app.database.catalog_tables import CatalogArtifact, CatalogDataset, CatalogPartition, CatalogTag
from app.database.statements import Statement
from app.query import visible
from app.runtime.context import Context
from app.services.catalog import data
from app.services.catalog.artifacts import artifact_message
from app.services.catalog.datasets import find_dataset, to_message
from app.services.catalog.keys import DatasetKey, checked, dataset_key

Pagination = datacatalog_pb2.PaginationOptions

# Rows of a page for which a request gives no number, as upstream.
_ROWS = 50
_ID_MAX = 2**63 - 1
_datasets, _artifacts = schema.table(CatalogDataset), schema.table(CatalogArtifact)
_tags, _partitions = schema.table(CatalogTag), schema.table(CatalogPartition)


async def list_datasets(
    ctx: Context, request: datacatalog_pb2.ListDatasetsRequest
) -> datacatalog_pb2.ListDatasetsResponse:
    """Return a page of the datasets that the caller may see.

    Raises:
        errors.InvalidArgument: A filter, the token, the sort key or the sort order is invalid.

    Source: upstream datasetManager.ListDatasets.
    """
    conditions = [_dataset_condition(one) for one in _filters(ctx, request)]
    values: dict[str, Any] = {}
    shown = visible.of(ctx.access, with_domain=True)
    if shown is not None:
        columns = _datasets.c
        conditions.append(visible.condition(shown.shape, columns.dataset_project, columns.dataset_domain))
        values = shown.values
    rows, token = await _page(ctx, _datasets, conditions, request, values)
    return datacatalog_pb2.ListDatasetsResponse(datasets=map(to_message, rows), next_token=token)


async def list_artifacts(
    ctx: Context, request: datacatalog_pb2.ListArtifactsRequest
) -> datacatalog_pb2.ListArtifactsResponse:
    """Return a page of the artifacts of a dataset, with their data.

    A page ends before it is larger than `limits.listReplyBytesMax`.
    Deviates: an artifact whose data is missing is listed without data; upstream answers INTERNAL.

    Raises:
        errors.InvalidArgument: The dataset, a filter, the token, the sort key or the sort order is invalid.
        errors.NotFound: The dataset does not exist.

    Source: upstream artifactManager.ListArtifacts.
    """
    key = dataset_key(ctx, request)
    conditions = [_artifact_condition(one) for one in _filters(ctx, request)]
    await find_dataset(ctx.db, key, request.dataset.UUID)
    conditions += [_artifacts.c[name] == value for name, value in key._asdict().items()]
    rows, token = await _page(ctx, _artifacts, conditions, request, {})
    response, size = datacatalog_pb2.ListArtifactsResponse(), 0
    for number, row in enumerate(rows):
        artifact = await artifact_message(ctx.db, row)
        artifact.data.extend(data.data_of(await data.read(ctx, row) or literals_pb2.LiteralMap()))
        size += artifact.ByteSize()
        if number and size > ctx.settings.limits.list_reply_bytes_max:
            token = str(rows[number - 1].id)
            break
        response.artifacts.append(artifact)
    response.next_token = token
    return response


def _filters(ctx: Context, request: Any) -> Sequence[datacatalog_pb2.SinglePropertyFilter]:
    filters: Sequence[datacatalog_pb2.SinglePropertyFilter] = request.filter.filters
    most = ctx.settings.limits.filters_max
    if len(filters) > most:
        raise errors.InvalidArgument(f"{len(filters)} filters, and at most {most} are allowed (limits.filtersMax)")
    for one in filters:
        if one.operator != datacatalog_pb2.SinglePropertyFilter.EQUALS:
            raise errors.InvalidArgument(f"unsupported filter expression operator index: {one.operator}")
    return filters


def _dataset_condition(one: datacatalog_pb2.SinglePropertyFilter) -> ColumnElement[bool]:
    kind = one.WhichOneof("property_filter")
    if kind not in (None, "dataset_filter"):
        entity = kind.removesuffix("_filter").capitalize()
        raise errors.InvalidArgument(f"Dataset cannot be filtered by {entity} properties")
    name = one.dataset_filter.WhichOneof("property")
    if name not in ("project", "domain", "name", "version"):
        raise _no_entity()
    return _datasets.c[f"dataset_{name}"] == checked(name, getattr(one.dataset_filter, name))


def _artifact_condition(one: datacatalog_pb2.SinglePropertyFilter) -> ColumnElement[bool]:
    match one.WhichOneof("property_filter"):
        case "dataset_filter":
            raise errors.InvalidArgument("Artifact cannot be filtered by Dataset properties")
        case "tag_filter" if one.tag_filter.WhichOneof("property"):
            return _has(_tags, _tags.c.tag == checked("TagName", one.tag_filter.tag_name))
        case "partition_filter" if one.partition_filter.WhichOneof("property"):
            pair = one.partition_filter.key_val
            return _has(
                _partitions,
                _partitions.c.key == checked("PartitionKey", pair.key),
                _partitions.c.value == checked("PartitionValue", pair.value),
            )
    raise _no_entity()


def _no_entity() -> errors.InvalidArgument:
    # Parity: upstream's text for a filter that it does not know.
    return errors.InvalidArgument("no such entity ")


def _has(table: Table, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    same = (table.c[name] == _artifacts.c[name] for name in (*DatasetKey._fields, "artifact_id"))
    return exists().where(*same, *conditions)


async def _page(
    ctx: Context, table: Table, conditions: list[ColumnElement[bool]], request: Any, values: dict[str, Any]
) -> tuple[Sequence[Any], str]:
    """Return the rows of a page and the token of the next page, "" for none."""
    given: datacatalog_pb2.PaginationOptions = request.pagination
    if given.sortKey != Pagination.CREATION_TIME:
        raise errors.InvalidArgument(f"Invalid sort key {given.sortKey}")
    if given.sortOrder not in (Pagination.ASCENDING, Pagination.DESCENDING):
        raise errors.InvalidArgument(f"Invalid sort order {given.sortOrder}")
    ascending, token = given.sortOrder == Pagination.ASCENDING, given.token.strip(" ")
    if token:
        if not (token.isascii() and token.isdigit() and len(token) < 20 and int(token) <= _ID_MAX):
            raise errors.InvalidArgument(f"Invalid token value: {given.token}")
        conditions = [*conditions, table.c.id > int(token) if ascending else table.c.id < int(token)]
    limit = min(given.limit or _ROWS, ctx.settings.datacatalog.page_rows_max)
    order = table.c.id.asc() if ascending else table.c.id.desc()
    query = select(table).where(*conditions).order_by(order).limit(limit + 1)
    rows = await ctx.db.all(Statement(query), **values)
    return rows[:limit], str(rows[limit - 1].id) if len(rows) > limit else ""
