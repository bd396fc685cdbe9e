"""The table of schedules' states: of our own, ignored by upstream (alembic/versions/0011)."""

from datetime import datetime

from sqlalchemy import Boolean, Column, Integer
from sqlmodel import Field

from app.database.schema import Base, UtcTime, text_column


def _count() -> int:
    value: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    return value


class ScheduleState(Base, table=True):
    """The outcomes of the slots of a schedule, that is of a row of schedulable_entities.

    Attributes:
        last_slot: The newest slot that was decided: launched, skipped, missed or failed.
        last_execution: The name of the execution of the newest launched slot.
        last_outcome: launched, skipped, missed or failed, of last_slot.
        missed: Slots that passed while no scheduler ran and that catch-up dropped.
        skipped: Slots without a launch because of a running execution, an archived project or an archived name.
        failed: Slots whose launch was refused for good.
        failures_in_row: Failed slots since the last launched one.
        problem_code: The gRPC code of the present problem, None without one.
        resume_from: Slots after this are caught up although the schedule was not active then; None for none.
        activated_by: The user id of who activated the schedule. Its executions have this principal.
        activated_as: The names of who activated the schedule in bindings of roles, JSON of app.auth.roles.Member; None
            where roles were off.
        paused: Whether `paused_reason`, `paused_by` and `paused_at` hold.
    """

    __tablename__ = "schedule_states"
    project: str = text_column(key=True)
    domain: str = text_column(key=True)
    name: str = text_column(key=True)
    version: str = text_column(key=True)
    last_slot: datetime | None = Field(sa_type=UtcTime)
    last_execution: str | None = text_column()
    last_outcome: str | None = text_column()
    launched: int = _count()
    missed: int = _count()
    skipped: int = _count()
    failed: int = _count()
    failures_in_row: int = _count()
    problem_code: int | None = Field(sa_column=Column(Integer))
    problem_message: str | None = text_column()
    problem_since: datetime | None = Field(sa_type=UtcTime)
    resume_from: datetime | None = Field(sa_type=UtcTime)
    activated_by: str | None = text_column()
    activated_as: str | None = text_column()
    paused: bool = Field(sa_column=Column(Boolean, nullable=False, server_default="0"))
    paused_reason: str | None = text_column()
    paused_by: str | None = text_column()
    paused_at: datetime | None = Field(sa_type=UtcTime)
