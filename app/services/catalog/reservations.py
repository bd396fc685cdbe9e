"""Reservations of tags whose outputs an owner computes while others wait.

There are two kinds of owners. A node of the local engine keeps its reservation while it runs. A client of DataCatalog
has an id of its own choice, and keeps its reservation until the time up to which it last extended it.
Source: datacatalog/pkg/manager/impl/reservation_manager.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flyteidl.core import execution_pb2, identifier_pb2
from flyteidl.datacatalog import datacatalog_pb2
from google.protobuf import duration_pb2, timestamp_pb2
from sqlalchemy import and_, bindparam, exists, literal, select

from app import errors
from app.database import schema
from app.database.base import UnitOfWork
from app.database.statements import Statement
from app.runtime.context import Context
from app.services import phases
from app.services.catalog.keys import CacheKey, check_length, checked, dataset_id, dataset_key
from app.services.execution_ids import EXECUTION_KEY, execution_key, of_execution

Node = execution_pb2.NodeExecution


@dataclass(frozen=True, slots=True)
class ReservationOwner:
    """An owner in the local engine: a node, or one element of an array node.

    Attributes:
        node: The node.
        part: The index of the element, "" for a node.
    """

    node: identifier_pb2.NodeExecutionIdentifier
    part: str = ""

    @property
    def columns(self) -> dict[str, Any]:
        """Return the columns of a reservation that name its owner."""
        return {**execution_key(self.node.execution_id), "node_id": self.node.node_id, "owner": self.part}


_launches, _nodes = schema.table(schema.Launch), schema.table(schema.NodeExecution)
_ENDED = tuple(Node.Phase.Name(phase) for phase in phases.NODE_TERMINAL)
# A node is running while its execution has a launch record and it has not ended. A crash changes neither.
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
_OF_CLIENT = {**dict.fromkeys(EXECUTION_KEY, ""), "node_id": ""}


async def is_reserved(ctx: Context, key: CacheKey, owner: ReservationOwner) -> bool:
    """Return whether another owner has a valid reservation of a key. Writes nothing."""
    row = await ctx.db.find(schema.CatalogReservation, **key._asdict())
    return row is not None and not _is_of(row, owner.columns) and await _is_valid(ctx.db, row, ctx.now)


async def reserve(ctx: Context, key: CacheKey, owner: ReservationOwner) -> bool:
    """Reserve a key for a node; return False if another owner has a valid reservation.

    Deviates: upstream's reservations expire 30 s after the last extension, even if the owner's task is still running.
    """
    return await _take(ctx.db, key, {**owner.columns, "expires_at": None}, ctx.now) is None


async def release(db: UnitOfWork, key: CacheKey, owner: ReservationOwner) -> None:
    """Delete the reservation of a key if this node has it."""
    await db.delete(schema.CatalogReservation, **key._asdict(), **owner.columns)


async def get_or_extend_reservation(
    ctx: Context, request: datacatalog_pb2.GetOrExtendReservationRequest
) -> datacatalog_pb2.GetOrExtendReservationResponse:
    """Reserve a tag for a client or extend its reservation; return the valid reservation, whoever owns it.

    The reservation ends when it is not extended for `datacatalog.heartbeatGracePeriodMultiplier` heartbeats.

    Raises:
        errors.InvalidArgument: A part of the id or the owner is missing, or the interval is negative.
            Deviates: upstream stores reservations of nothing and of nobody.

    Source: upstream reservationManager.GetOrExtendReservation.
    """
    settings = ctx.settings.datacatalog
    key, owner = _reservation(ctx, request)
    heartbeat = settings.max_reservation_heartbeat_seconds
    if request.HasField("heartbeat_interval"):
        wanted = request.heartbeat_interval
        heartbeat = min(heartbeat, wanted.seconds + wanted.nanos / 1e9)
    if heartbeat < 0:
        raise errors.InvalidArgument("invalid value for heartbeatInterval: it is negative")
    expires_at = ctx.now + timedelta(seconds=heartbeat * settings.heartbeat_grace_period_multiplier)
    columns = {**_OF_CLIENT, "owner": owner, "expires_at": expires_at}
    other = await _take(ctx.db, key, columns, ctx.now)
    reservation = datacatalog_pb2.Reservation(
        reservation_id=datacatalog_pb2.ReservationID(dataset_id=dataset_id(key.dataset), tag_name=key.tag),
        owner_id=owner,
        heartbeat_interval=duration_pb2.Duration(),
        expires_at=timestamp_pb2.Timestamp(),
    )
    reservation.heartbeat_interval.FromTimedelta(timedelta(seconds=heartbeat))
    if other is not None:
        reservation.owner_id = other.owner if other.expires_at is not None else _shown(other)
        # A node of the local engine has its reservation while it runs, so the end is not known.
        expires_at = other.expires_at or expires_at
    reservation.expires_at.FromDatetime(expires_at)
    return datacatalog_pb2.GetOrExtendReservationResponse(reservation=reservation)


async def release_reservation(
    ctx: Context, request: datacatalog_pb2.ReleaseReservationRequest
) -> datacatalog_pb2.ReleaseReservationResponse:
    """Delete a reservation if this client owns it. Succeeds if it does not.

    Raises:
        errors.InvalidArgument: A part of the id or the owner is missing.

    Source: upstream reservationManager.ReleaseReservation.
    """
    key, owner = _reservation(ctx, request)
    await ctx.db.delete(schema.CatalogReservation, **key._asdict(), **_OF_CLIENT, owner=owner)
    return datacatalog_pb2.ReleaseReservationResponse()


def _reservation(ctx: Context, request: Any) -> tuple[CacheKey, str]:
    """Return the key and the owner of a request. Raises INVALID_ARGUMENT if one is missing or too long."""
    if not request.HasField("reservation_id"):
        raise errors.InvalidArgument("missing reservationID")
    id = request.reservation_id
    key = CacheKey(*dataset_key(ctx, id, "dataset_id"), checked("tagName", id.tag_name))
    check_length(ctx, key)
    owner = checked("ownerID", request.owner_id)
    check_length(ctx, (owner,))
    return key, owner


async def _take(db: UnitOfWork, key: CacheKey, columns: dict[str, Any], now: datetime) -> Any | None:
    """Reserve a key with these columns; return the row of another owner with a valid reservation instead."""
    row = await db.find(schema.CatalogReservation, **key._asdict())
    # A poll of a reserved key writes nothing.
    if row is not None and not _is_of(row, columns) and await _is_valid(db, row, now):
        return row
    if await db.insert_if_absent(schema.CatalogReservation, **key._asdict(), **columns) is not None:
        return None
    row = await db.find(schema.CatalogReservation, for_update=True, **key._asdict())
    if row is None:
        raise errors.Unavailable("the reservation was released at this moment; try again")
    if not _is_of(row, columns) and await _is_valid(db, row, now):
        return row
    await db.update(schema.CatalogReservation, key._asdict(), **columns)
    return None


def _is_of(row: Any, columns: dict[str, Any]) -> bool:
    """Return whether a reservation has this owner."""
    return all(getattr(row, name) == value for name, value in columns.items() if name != "expires_at")


async def _is_valid(db: UnitOfWork, row: Any, now: datetime) -> bool:
    if row.expires_at is not None:
        return bool(row.expires_at > now)
    where = {name: getattr(row, name) for name in (*EXECUTION_KEY, "node_id")}
    return await db.one(_RUNS, **where) is not None


def _shown(row: Any) -> str:
    """Return the id of an owner in the local engine for clients."""
    parts = (*(getattr(row, name) for name in EXECUTION_KEY), row.node_id, row.owner)
    return "/".join(part for part in parts if part)
