"""Schedules as users see them: what the REST routes, the commands and a console show (docs/schedules.md)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flyteidl.admin import launch_plan_pb2, schedule_pb2
from google.protobuf.message import DecodeError

from app import errors
from app.services.schedules import states
from app.services.schedules.slots import NeverFires, timing
from app.settings import Settings

NEXT_SLOTS = 5


def view(row: Any, settings: Settings, now: datetime) -> dict[str, Any]:
    """Return one schedule as JSON values; times are texts in UTC.

    Args:
        row: A row of app.services.schedules.states.
        settings: The settings.
        now: The following slots are later than this.
    """
    options = states.options_of(row, settings)
    slots: list[datetime] = []
    problem, zone = _problem(row), ""
    try:
        chosen = timing(row, options, utc=settings.scheduler.workflow_executor.local.use_utc_tz)
    except NeverFires as error:
        problem = {"code": 3, "message": str(error), "since": None}
    else:
        if chosen.cron is not None:
            zone = str(chosen.cron.zone or chosen.zone)
        start = _start(row, now, chosen.every) if chosen.cron is None else now
        slot = chosen.following(start)
        while slot is not None and len(slots) < NEXT_SLOTS:
            if slot > now:
                slots.append(slot)
            slot = chosen.following(slot)
    if _is_set_aside(row):
        slots = []
    return {
        **{part: getattr(row, part) for part in ("project", "domain", "name", "version")},
        "expression": row.cron_expression or _rate(row),
        "zone": zone,
        "kickoff_input": row.kickoff_time_input_arg or "",
        "active": bool(row.active),
        "paused": {"reason": row.paused_reason, "by": row.paused_by, "at": _text(row.paused_at)}
        if row.paused
        else None,
        "last": _last(row),
        "next": [_text(slot) for slot in slots] if row.active else [],
        "never": bool(row.active) and not slots,
        "counts": {name: getattr(row, name) or 0 for name in ("launched", "missed", "skipped", "failed")},
        "problem": problem,
        "options": {
            "overlap": options.overlap,
            "catch_up": options.catch_up,
            "catch_up_seconds": options.catch_up_seconds,
            "jitter_seconds": options.jitter_seconds,
            "dst": f"{options.gap}-gap,{options.repeat}",
            "pause_after": options.pause_after,
        },
        "warnings": [*options.problems, *_limits(row)],
        "activated_by": row.activated_by or "",
    }


def _limits(row: Any) -> list[str]:
    """Return a warning where the launch plan allows no execution at all."""
    try:
        spec = launch_plan_pb2.LaunchPlanSpec.FromString(row.plan_spec or b"")
    except DecodeError:
        # The options of the row have the reason.
        return []
    if spec.HasField("concurrency_policy") and spec.concurrency_policy.max == 0:
        return ["the concurrency_policy of the launch plan has max 0: the schedule never launches"]
    return []


def _is_set_aside(row: Any) -> bool:
    """Return whether a slot since the activation did not find the launch plan, which is deleted: no other one fires."""
    if row.plan_spec is not None or row.problem_code != errors.NotFound.code or row.last_outcome != "failed":
        return False
    return row.updated_at is None or row.last_slot > row.updated_at


def _start(row: Any, now: datetime, every: timedelta) -> datetime:
    """Return a time in the phase of a rate, which began with its newest slot or its activation, at most one before."""
    start: datetime = (row.last_slot or row.updated_at or now).replace(microsecond=0)
    return start + max(0, (now - start) // every) * every


def _last(row: Any) -> dict[str, Any] | None:
    if row.last_slot is None:
        return None
    return {"slot": _text(row.last_slot), "execution": row.last_execution or "", "outcome": row.last_outcome}


def _problem(row: Any) -> dict[str, Any] | None:
    if row.problem_code is None:
        return None
    return {"code": row.problem_code, "message": row.problem_message, "since": _text(row.problem_since)}


def _rate(row: Any) -> str:
    unit = schedule_pb2.FixedRateUnit.Name(row.unit or 0) if (row.unit or 0) in range(3) else str(row.unit)
    return f"rate({row.fixed_rate_value or 0} {unit})"


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")
