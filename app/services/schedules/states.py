"""Read schedules with their options and states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from flyteidl.admin import launch_plan_pb2
from flyteidl.core import identifier_pb2
from google.protobuf.message import DecodeError
from sqlalchemy import and_, bindparam, select

from app.database import schema
from app.database.base import UnitOfWork
from app.database.schedule_tables import ScheduleState
from app.database.statements import Statement
from app.services.schedules.fire import PARTS
from app.services.schedules.options import Options, of_annotations
from app.settings import Settings

_SCHEDULES = schema.table(schema.SchedulableEntity)
_STATES = schema.table(ScheduleState)
_PLANS = schema.table(schema.LaunchPlan)
_NAMES = schema.table(schema.NamedEntityMetadata)


def _joined(*columns: Any, names: bool = False) -> Any:
    same_state = and_(*(_SCHEDULES.c[part] == _STATES.c[part] for part in PARTS))
    same_plan = and_(*(_SCHEDULES.c[part] == _PLANS.c[part] for part in PARTS))
    joined = _SCHEDULES.outerjoin(_STATES, same_state).outerjoin(_PLANS, same_plan)
    if names:
        same_name = and_(*(_SCHEDULES.c[part] == _NAMES.c[part] for part in PARTS[:3]))
        joined = joined.outerjoin(_NAMES, and_(same_name, _NAMES.c.resource_type == identifier_pb2.LAUNCH_PLAN))
    return select(*columns).select_from(joined)


def _columns() -> list[Any]:
    own = [
        column for column in _STATES.c if column.name not in {*PARTS, "id", "created_at", "updated_at", "deleted_at"}
    ]
    return [*_SCHEDULES.c, *own, _PLANS.c.spec.label("plan_spec")]


def select_with_plans(ids: Sequence[Any]) -> Any:
    """Return the SELECT of schedules with these ids and their states, and what a launch reads of plans and names."""
    plan = (_PLANS.c[name].label(f"plan_{name}") for name in ("id", "closure", "workflow_id"))
    columns = (*_columns(), _STATES.c.id.label("state_id"), *plan, _NAMES.c.state)
    return _joined(*columns, names=True).where(_SCHEDULES.c.id.in_(ids))


@lru_cache(maxsize=1)
def _active() -> Statement:
    where = (_SCHEDULES.c.active.is_(True), _SCHEDULES.c.id > bindparam("after"))
    return Statement(_joined(*_columns()).where(*where).order_by(_SCHEDULES.c.id).limit(bindparam("most")))


@lru_cache(maxsize=1)
def _changed() -> Statement:
    since = bindparam("since", type_=_SCHEDULES.c.updated_at.type)
    where = (_SCHEDULES.c.updated_at >= since, _SCHEDULES.c.id > bindparam("after"))
    return Statement(_joined(*_columns()).where(*where).order_by(_SCHEDULES.c.id).limit(bindparam("most")))


@lru_cache(maxsize=16)
def _of_place(*parts: str) -> Statement:
    where = (*(_SCHEDULES.c[part] == bindparam(part) for part in parts), _SCHEDULES.c.id > bindparam("after"))
    return Statement(_joined(*_columns()).where(*where).order_by(_SCHEDULES.c.id).limit(bindparam("most")))


async def active(db: UnitOfWork, *, after: int, most: int) -> Sequence[Any]:
    """Return the active schedules with an id above `after`, in the order of ids: rows with state and `plan_spec`."""
    return await db.all(_active(), after=after, most=most)


async def changed(db: UnitOfWork, *, since: Any, after: int, most: int) -> Sequence[Any]:
    """Return the schedules, active or not, that changed since a time; as `active`."""
    return await db.all(_changed(), since=since, after=after, most=most)


async def of_place(db: UnitOfWork, *, after: int, most: int, **place: str) -> Sequence[Any]:
    """Return the schedules of a project, of a domain, of a name or of a version; as `active`."""
    return await db.all(_of_place(*place), after=after, most=most, **place)


def options_of(row: Any, settings: Settings) -> Options:
    """Return the options of a row of this module; the defaults, with a problem, where the launch plan is damaged."""
    section = settings.scheduler
    defaults = Options(catch_up=section.catch_up, catch_up_seconds=section.catch_up_age_seconds or None)
    if row.plan_spec is None:
        return defaults
    try:
        spec = launch_plan_pb2.LaunchPlanSpec.FromString(row.plan_spec)
    except DecodeError as error:
        return replace(defaults, problems=(f"the launch plan cannot be read: {error}",))
    return of_annotations(spec.annotations.values, defaults)
