"""Read the rows of many due slots with one statement, into a memo that their launches share.

A launch reads schedule, state and launch plan by key, one after the other. For a thousand slots of the same minute
these reads would take most of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from flyteidl.admin import launch_plan_pb2, matchable_resource_pb2
from google.protobuf.message import DecodeError
from sqlalchemy import bindparam

from app.database import schema
from app.database.base import UnitOfWork
from app.database.read_memo import ReadMemo
from app.database.schedule_tables import ScheduleState
from app.database.statements import Statement
from app.services import matchable_attributes
from app.services.executions.launch import PLAN_COLUMNS
from app.services.schedules import states
from app.services.schedules.fire import NAME_COLUMNS, SCHEDULE_COLUMNS, STATE_COLUMNS, columns_of, name_of
from app.services.schedules.slots import Key, execution_name

# The most slots of one statement.
SLOTS_MAX = 100


class _Plan(NamedTuple):
    id: int
    spec: bytes
    closure: bytes
    workflow_id: int


assert _Plan._fields == PLAN_COLUMNS


@lru_cache(maxsize=1)
def _of_ids() -> Statement:
    return Statement(states.select_with_plans([bindparam(f"id_{place}") for place in range(SLOTS_MAX)]))


async def read_ahead(db: UnitOfWork, due: Sequence[tuple[int, Key, datetime]]) -> ReadMemo:
    """Return a memo for the launches of slots.

    In the memo the executions do not exist. Where one does, its insert fails, and the launch with it.

    Args:
        db: A unit of work.
        due: The id of the row, the key and the slot of each schedule, at most SLOTS_MAX.
    """
    memo, slots = ReadMemo(), {id: (key, slot) for id, key, slot in due}
    workflows: set[tuple[str, str, str]] = set()
    ids = [*slots, *[next(iter(slots))] * (SLOTS_MAX - len(slots))]
    for row in await db.all(_of_ids(), **{f"id_{place}": id for place, id in enumerate(ids)}):
        key, slot = slots[row.id]
        where: dict[str, Any] = columns_of(key)
        memo.put_found(schema.SchedulableEntity, SCHEDULE_COLUMNS, where, row)
        memo.put_found(ScheduleState, STATE_COLUMNS, where, row if row.state_id is not None else None)
        memo.put_found(schema.NamedEntityMetadata, NAME_COLUMNS, name_of(key), row)
        if row.plan_id is not None:
            plan = _Plan(row.plan_id, row.plan_spec, row.plan_closure, row.plan_workflow_id)
            memo.put_found(schema.LaunchPlan, PLAN_COLUMNS, where, plan)
            workflows |= _workflow_of(key, row.plan_spec)
        execution = {
            "execution_project": key[0],
            "execution_domain": key[1],
            "execution_name": execution_name(key, slot),
        }
        memo.put_found(schema.Execution, ("id",), execution, None)
    for project in {key[0] for key, _ in slots.values()}:
        where = {"identifier": project}
        for column in ("state", "labels"):
            memo.put_found(schema.Project, (column,), where, await db.find(schema.Project, columns=(column,), **where))
    workflows |= {(project, "", "") for project, *_ in workflows}
    await matchable_attributes.read_ahead(db, memo, matchable_resource_pb2.WORKFLOW_EXECUTION_CONFIG, workflows)
    return memo


def _workflow_of(key: Key, spec: bytes) -> set[tuple[str, str, str]]:
    """Return the workflow of a launch plan; none for a damaged launch plan, whose launch reports that."""
    try:
        return {(key[0], key[1], launch_plan_pb2.LaunchPlanSpec.FromString(spec).workflow_id.name)}
    except DecodeError:
        return set()
