"""The catalogue: which outputs are cached under which key, and who is producing those that others wait for.

Rows name the outputs.pb of the attempt that produced them and copy nothing: an entry lives and dies with the data of
that execution, whose files and tables its literals refer to anyway.
Source: datacatalog/pkg/manager/impl (artifact_manager.go, reservation_manager.go), upstream's service for this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from flyteidl.core import execution_pb2, identifier_pb2
from sqlalchemy import and_, bindparam, exists, literal, select

from app import schema
from app.db import UnitOfWork
from app.services import phases
from app.services.ids import execution_key
from app.statements import Statement

Node = execution_pb2.NodeExecution


class Key(NamedTuple):
    """What outputs are cached under; the fields are columns of both tables."""

    dataset_project: str
    dataset_domain: str
    dataset_name: str
    dataset_version: str
    tag: str


@dataclass(frozen=True, slots=True)
class Owner:
    """Who may hold a reservation. part: "" for a whole node, or the index of an array."""

    node: identifier_pb2.NodeExecutionIdentifier
    part: str = ""

    @property
    def columns(self) -> dict[str, str]:
        return {**execution_key(self.node.execution_id), "node_id": self.node.node_id, "owner": self.part}


_launches, _nodes = schema.table(schema.Launch), schema.table(schema.NodeExecution)
_RUN = ("execution_project", "execution_domain", "execution_name")
_ENDED = tuple(Node.Phase.Name(phase) for phase in phases.NODE_TERMINAL)
# A node runs as long as some engine has to run its execution and it has not ended: a crash changes neither.
_RUNS = Statement(
    select(_launches.c.id).where(
        *(_launches.c[name] == bindparam(name) for name in _RUN),
        ~exists().where(
            and_(
                *(_nodes.c[name] == bindparam(name) for name in (*_RUN, "node_id")),
                _nodes.c.phase.in_([literal(phase) for phase in _ENDED]),
            )
        ),
    )
)


async def find(db: UnitOfWork, key: Key) -> Any | None:
    """The row that is cached under a key, None without one."""
    return await db.find(schema.CatalogArtifact, **key._asdict())


async def put(db: UnitOfWork, key: Key, entry: Mapping[str, Any], *, overwrite: bool) -> tuple[str, bool]:
    """Cache outputs under a key; the id of what is cached there now, and whether something was overwritten.

    shape:  entry has the other columns of catalog_artifacts; its artifact_id counts where nothing is cached yet
    Without overwrite what is there stays: of two that computed the same at once, the first one counts.
    """
    if await db.insert_if_absent(schema.CatalogArtifact, **key._asdict(), **entry) is not None:
        return str(entry["artifact_id"]), False
    row = await db.find(schema.CatalogArtifact, columns=("artifact_id",), for_update=True, **key._asdict())
    if row is None:
        # It was deleted in this very moment.
        await db.insert(schema.CatalogArtifact, **key._asdict(), **entry)
        return str(entry["artifact_id"]), False
    if overwrite:
        # Parity: the artifact keeps its id and gets other data (UpdateArtifact).
        changes = {name: value for name, value in entry.items() if name != "artifact_id"}
        await db.update(schema.CatalogArtifact, key._asdict(), **changes)
    return str(row.artifact_id), overwrite


async def forget(db: UnitOfWork, key: Key, artifact_id: str, output_uri: str) -> None:
    """Delete an entry whose outputs cannot be read any more, unless somebody has replaced it."""
    await db.delete(schema.CatalogArtifact, **key._asdict(), artifact_id=artifact_id, output_uri=output_uri)


async def is_reserved(db: UnitOfWork, key: Key, owner: Owner) -> bool:
    """Whether somebody else, who still runs, is producing the outputs of a key. Writes nothing."""
    row = await db.find(schema.CatalogReservation, **key._asdict())
    return row is not None and not _is_of(row, owner) and await _runs(db, row)


async def reserve(db: UnitOfWork, key: Key, owner: Owner) -> bool:
    """Reserve a key; False where somebody else, who still runs, has it.

    Deviates: upstream's reservations end 30 s after their holder was last heard of, also when its task goes on.
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


async def release(db: UnitOfWork, key: Key, owner: Owner) -> None:
    """Give a reservation back; one that is not the owner's stays."""
    await db.delete(schema.CatalogReservation, **key._asdict(), **owner.columns)


def _is_of(row: Any, owner: Owner) -> bool:
    return all(getattr(row, name) == value for name, value in owner.columns.items())


async def _runs(db: UnitOfWork, row: Any) -> bool:
    where = {name: getattr(row, name) for name in (*_RUN, "node_id")}
    return await db.one(_RUNS, **where) is not None
