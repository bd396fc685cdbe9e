"""Read and write the snapshots of upstream's scheduler, so that either scheduler can go on after the other one.

Upstream reads the newest row of schedule_entities_snapshots when it starts. This server writes one while last times
change, and keeps the newest two.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

import structlog
from sqlalchemy import bindparam, delete, select

from app.database import schema
from app.database.base import UnitOfWork
from app.database.statements import Statement
from app.wire.go import gob_snapshot

KEPT = 2

log = structlog.get_logger(__name__)

_SNAPSHOTS = schema.table(schema.ScheduleEntitiesSnapshot)


@lru_cache(maxsize=1)
def _newest() -> Statement:
    columns = (_SNAPSHOTS.c.id, _SNAPSHOTS.c.snapshot)
    return Statement(select(*columns).order_by(_SNAPSHOTS.c.id.desc()).limit(bindparam("most")))


@lru_cache(maxsize=1)
def _older() -> Statement:
    return Statement(delete(_SNAPSHOTS).where(_SNAPSHOTS.c.id < bindparam("oldest")))


async def read(unit: UnitOfWork) -> dict[str, datetime]:
    """Return the last times of the newest snapshot by key; an unreadable one counts as none, with a log line."""
    row = await unit.one(_newest(), most=1)
    if row is None or not row.snapshot:
        return {}
    try:
        return gob_snapshot.decode(row.snapshot)
    except gob_snapshot.BadSnapshot as error:
        log.warning("scheduler_snapshot_unreadable", id=row.id, reason=str(error))
        return {}


async def write(unit: UnitOfWork, last_times: Mapping[str, datetime]) -> None:
    """Insert a snapshot and delete all but the newest ones."""
    await unit.insert(schema.ScheduleEntitiesSnapshot, snapshot=gob_snapshot.encode(last_times))
    rows = await unit.all(_newest(), most=KEPT)
    await unit.run(_older(), oldest=rows[-1].id)
