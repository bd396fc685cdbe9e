"""The catalog of cached task outputs, and reservations of cache keys whose outputs are being computed.

A row has the URI of the outputs.pb of the attempt that computed the outputs. Nothing is copied, because the literals
refer to files and tables of that execution anyway. If the data of the execution is deleted, the entry is useless.
Source: datacatalog/pkg/manager/impl (artifact_manager.go, reservation_manager.go), upstream's service for this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from flyteidl.core import execution_pb2, identifier_pb2
from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, func, literal, select, tuple_

from app.database import schema
from app.database.base import UnitOfWork
from app.database.statements import Statement
from app.services import phases
from app.services.execution_ids import EXECUTION_KEY, execution_key, of_execution

Node = execution_pb2.NodeExecution

DATASET_PREFIX = "flyte_task-"
# The end of dataset_version, after the cache version: two hashes of eight characters, each after a hyphen.
SIGNATURE_CHARACTERS = 18


class CacheKey(NamedTuple):
    """The key of cached outputs. Its fields are columns of both tables."""

    dataset_project: str
    dataset_domain: str
    dataset_name: str
    dataset_version: str
    tag: str

    @property
    def task(self) -> str:
        """Return the name of the task."""
        return self.dataset_name.removeprefix(DATASET_PREFIX)

    @property
    def version(self) -> str:
        """Return the cache version that the task declares."""
        return self.dataset_version[:-SIGNATURE_CHARACTERS]


@dataclass(frozen=True, slots=True)
class ArtifactFilter:
    """Select cached artifacts; "" and None select all. before: written last before this time."""

    project: str = ""
    domain: str = ""
    task: str = ""
    version: str = ""
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReservationOwner:
    """The owner of a reservation: a node, or one element of an array node.

    Attributes:
        node: The node.
        part: The index of the element, "" for a node.
    """

    node: identifier_pb2.NodeExecutionIdentifier
    part: str = ""

    @property
    def columns(self) -> dict[str, str]:
        """Return the columns of a reservation that name its owner."""
        return {**execution_key(self.node.execution_id), "node_id": self.node.node_id, "owner": self.part}


_launches, _nodes = schema.table(schema.Launch), schema.table(schema.NodeExecution)
_ENDED = tuple(Node.Phase.Name(phase) for phase in phases.NODE_TERMINAL)
# An owner is running while its execution has a launch record and its node has not ended. A crash changes neither.
_RUNS = Statement(
    select(_launches.c.id).where(
        *of_execution(_launches),
        ~exists().where(
            and_(
                *of_execution(_nodes),
                _nodes.c.node_id == bindparam("node_id"),
                _nodes.c.phase.in_([literal(phase) for phase in _ENDED]),
            )
        ),
    )
)


async def find_artifact(db: UnitOfWork, key: CacheKey) -> Any | None:
    """Return the row of a key, None if nothing is cached."""
    return await db.find(schema.CatalogArtifact, **key._asdict())


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
    if await db.insert_if_absent(schema.CatalogArtifact, **key._asdict(), **entry) is not None:
        return str(entry["artifact_id"]), False
    row = await db.find(schema.CatalogArtifact, columns=("artifact_id",), for_update=True, **key._asdict())
    if row is None:
        # Another transaction has deleted the row since the insert found it.
        await db.insert(schema.CatalogArtifact, **key._asdict(), **entry)
        return str(entry["artifact_id"]), False
    if overwrite:
        # Parity: the artifact gets new data and keeps its id (UpdateArtifact).
        changes = {name: value for name, value in entry.items() if name != "artifact_id"}
        await db.update(schema.CatalogArtifact, key._asdict(), **changes)
    return str(row.artifact_id), overwrite


async def delete_artifact(db: UnitOfWork, key: CacheKey, artifact_id: str, output_uri: str) -> None:
    """Delete an entry whose outputs cannot be read, unless another execution has replaced the entry."""
    await db.delete(schema.CatalogArtifact, **key._asdict(), artifact_id=artifact_id, output_uri=output_uri)


async def is_reserved(db: UnitOfWork, key: CacheKey, owner: ReservationOwner) -> bool:
    """Return whether another owner that is still running has reserved a key. Writes nothing."""
    row = await db.find(schema.CatalogReservation, **key._asdict())
    return row is not None and not _is_of(row, owner) and await _runs(db, row)


async def reserve(db: UnitOfWork, key: CacheKey, owner: ReservationOwner) -> bool:
    """Reserve a key; return False if another owner that is still running has reserved it.

    Deviates: upstream's reservations expire 30 s after the last extension, even if the owner's task is still running.
    """
    if await db.insert_if_absent(schema.CatalogReservation, **key._asdict(), **owner.columns) is not None:
        return True
    row = await db.find(schema.CatalogReservation, for_update=True, **key._asdict())
    if row is None:
        return False
    if _is_of(row, owner):
        return True
    if await _runs(db, row):
        return False
    await db.update(schema.CatalogReservation, key._asdict(), **owner.columns)
    return True


async def release(db: UnitOfWork, key: CacheKey, owner: ReservationOwner) -> None:
    """Delete the reservation of a key if this owner has it."""
    await db.delete(schema.CatalogReservation, **key._asdict(), **owner.columns)


def _is_of(row: Any, owner: ReservationOwner) -> bool:
    return all(getattr(row, name) == value for name, value in owner.columns.items())


async def _runs(db: UnitOfWork, row: Any) -> bool:
    where = {name: getattr(row, name) for name in (*EXECUTION_KEY, "node_id")}
    return await db.one(_RUNS, **where) is not None


_artifacts = schema.table(schema.CatalogArtifact)
_KEY = tuple(_artifacts.c[name] for name in CacheKey._fields)


async def list_artifacts(
    db: UnitOfWork, chosen: ArtifactFilter, *, after: CacheKey | None, limit: int
) -> Sequence[Any]:
    """Return at most `limit` entries in the order of their keys, after the key `after`."""
    conditions = _conditions(chosen)
    if after is not None:
        conditions.append(tuple_(*_KEY) > tuple_(*map(literal, after)))
    return await db.all(Statement(select(_artifacts).where(*conditions).order_by(*_KEY).limit(limit)))


async def count_artifacts(db: UnitOfWork, chosen: ArtifactFilter) -> int:
    """Return the number of selected entries."""
    statement = select(func.count().label("entries")).select_from(_artifacts).where(*_conditions(chosen))
    row = await db.one(Statement(statement))
    return int(row.entries) if row is not None else 0


async def delete_artifacts(db: UnitOfWork, chosen: ArtifactFilter, *, limit: int) -> int:
    """Delete at most `limit` entries and return their number. The limit keeps the write transaction short.

    The objects with the outputs are not deleted.
    """
    some = select(*_KEY).where(*_conditions(chosen)).order_by(*_KEY).limit(limit)
    return await db.run(Statement(delete(_artifacts).where(tuple_(*_KEY).in_(some))))


def _conditions(chosen: ArtifactFilter) -> list[ColumnElement[bool]]:
    columns, conditions = _artifacts.c, []
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
