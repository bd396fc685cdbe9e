"""Cached outputs by their key, for the local engine and for `flyteadmin cache`.

The local engine caches references: an artifact names the outputs.pb of the attempt that computed the outputs. Nothing
is copied, because the literals refer to files and tables of that execution anyway. If the data of the execution is
deleted, the artifact is useless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, bindparam, delete, exists, func, literal, select, tuple_

from app.database import schema
from app.database.base import UnitOfWork
from app.database.catalog_tables import CatalogArtifact, CatalogDataset, CatalogPartition, CatalogTag
from app.database.statements import Statement
from app.services.catalog.keys import DATASET_PREFIX, SIGNATURE_CHARACTERS, CacheKey, DatasetKey


@dataclass(frozen=True, slots=True)
class ArtifactFilter:
    """Select cached artifacts; "" and None select all. before: written last before this time."""

    project: str = ""
    domain: str = ""
    task: str = ""
    version: str = ""
    before: datetime | None = None


_artifacts, _tags = schema.table(CatalogArtifact), schema.table(CatalogTag)
# Rows of an artifact in other tables, which are deleted with it.
_PARTS = (_tags, schema.table(CatalogPartition))
_ARTIFACT = (*DatasetKey._fields, "artifact_id")
_CACHED = _tags.join(_artifacts, and_(*(_tags.c[name] == _artifacts.c[name] for name in _ARTIFACT)))
_KEY = tuple(_tags.c[name] for name in CacheKey._fields)
_COLUMNS = (*_artifacts.c, _tags.c.tag)
_FIND = Statement(select(*_COLUMNS).select_from(_CACHED).where(*(column == bindparam(column.name) for column in _KEY)))


async def find_artifact(db: UnitOfWork, key: CacheKey) -> Any | None:
    """Return the row of a key, with the column `tag`; None if nothing is cached."""
    return await db.one(_FIND, **key._asdict())


async def store_artifact(
    db: UnitOfWork, key: CacheKey, entry: Mapping[str, Any], *, overwrite: bool
) -> tuple[str, bool]:
    """Cache outputs under a key.

    Args:
        db: The unit of work.
        key: The key.
        entry: The other columns of catalog_artifacts. Its artifact_id is used only for a new row.
        overwrite: Whether to replace an existing row. Without it, the first of two concurrent computations is kept.

    Returns:
        The id of the cached artifact, and whether an existing row was replaced.
    """
    dataset, artifact_id = key.dataset._asdict(), str(entry["artifact_id"])
    await db.insert_if_absent(CatalogDataset, **dataset, task_version=entry["task_version"])
    cached = await take_tag(db, key, artifact_id)
    if cached is None:
        await db.insert(CatalogArtifact, **dataset, **entry)
        return artifact_id, False
    if overwrite:
        # Parity: the artifact gets new data and keeps its id (UpdateArtifact).
        changes = {name: value for name, value in entry.items() if name != "artifact_id"}
        await db.update(CatalogArtifact, {**dataset, "artifact_id": cached}, **{"details": None, **changes})
    return cached, overwrite


async def take_tag(db: UnitOfWork, key: CacheKey, artifact_id: str) -> str | None:
    """Give a tag to an artifact; return the id of the artifact that has the tag already, None if none has."""
    if await db.insert_if_absent(CatalogTag, **key._asdict(), artifact_id=artifact_id) is not None:
        return None
    row = await db.find(CatalogTag, columns=("artifact_id",), for_update=True, **key._asdict())
    if row is None:
        # Another transaction has deleted the tag since the insert found it.
        await db.insert(CatalogTag, **key._asdict(), artifact_id=artifact_id)
        return None
    where = {**key.dataset._asdict(), "artifact_id": row.artifact_id}
    if await db.find(CatalogArtifact, columns=("id",), **where) is not None:
        return str(row.artifact_id)
    # The artifact was deleted while another transaction gave it this tag.
    await db.update(CatalogTag, key._asdict(), artifact_id=artifact_id)
    return None


async def delete_artifact(db: UnitOfWork, key: DatasetKey, artifact_id: str, output_uri: str) -> None:
    """Delete an artifact whose outputs cannot be read, unless another execution has replaced them."""
    where = {**key._asdict(), "artifact_id": artifact_id}
    if await db.delete(CatalogArtifact, **where, output_uri=output_uri):
        for part in (CatalogTag, CatalogPartition):
            await db.delete(part, **where)


async def list_cached(db: UnitOfWork, chosen: ArtifactFilter, *, after: CacheKey | None, limit: int) -> Sequence[Any]:
    """Return at most `limit` artifacts with a tag in the order of their keys, after the key `after`."""
    conditions = _conditions(chosen)
    if after is not None:
        conditions.append(tuple_(*_KEY) > tuple_(*map(literal, after)))
    query = select(*_COLUMNS).select_from(_CACHED).where(*conditions).order_by(*_KEY).limit(limit)
    return await db.all(Statement(query))


async def count_artifacts(db: UnitOfWork, chosen: ArtifactFilter) -> int:
    """Return the number of selected artifacts, also of those without a tag."""
    statement = select(func.count().label("entries")).select_from(_artifacts).where(*_conditions(chosen))
    row = await db.one(Statement(statement))
    return int(row.entries) if row is not None else 0


async def delete_artifacts(db: UnitOfWork, chosen: ArtifactFilter, *, limit: int) -> int:
    """Delete at most `limit` artifacts with their tags, and return their number.

    The limit keeps the write transaction short. The objects with the outputs are not deleted.
    """
    await db.begin()
    conditions = _conditions(chosen)
    ids = _ids(_artifacts)
    rows = await db.all(Statement(select(*ids).where(*conditions).order_by(*ids).limit(limit)))
    if not rows:
        return 0
    deleted = await db.run(Statement(delete(_artifacts).where(*conditions, _between(_artifacts, rows[0], rows[-1]))))
    for table in _PARTS:
        of = exists().where(and_(*(one == other for one, other in zip(_ids(table), _ids(_artifacts), strict=True))))
        await db.run(Statement(delete(table).where(_between(table, rows[0], rows[-1]), ~of)))
    return deleted


def _ids(table: Table) -> list[ColumnElement[Any]]:
    """Return the columns of a table that name an artifact."""
    return [table.c[name] for name in _ARTIFACT]


def _between(table: Table, first: Sequence[Any], last: Sequence[Any]) -> ColumnElement[bool]:
    of = tuple_(*_ids(table))
    return and_(of >= tuple_(*map(literal, first)), of <= tuple_(*map(literal, last)))


def _conditions(chosen: ArtifactFilter) -> list[ColumnElement[bool]]:
    columns = _artifacts.c
    conditions: list[ColumnElement[bool]] = []
    if chosen.project:
        conditions.append(columns.dataset_project == chosen.project)
    if chosen.domain:
        conditions.append(columns.dataset_domain == chosen.domain)
    if chosen.task:
        conditions.append(columns.dataset_name == DATASET_PREFIX + chosen.task)
    if chosen.version:
        start, whole = f"{chosen.version}-", len(chosen.version) + SIGNATURE_CHARACTERS
        conditions.append(func.substr(columns.dataset_version, 1, len(start)) == start)
        conditions.append(func.length(columns.dataset_version) == whole)
    if chosen.before is not None:
        conditions.append(columns.updated_at < chosen.before)
    return conditions
