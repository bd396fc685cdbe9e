"""The table of messages to other systems: of our own, ignored by upstream (alembic/versions/0012)."""

from datetime import datetime

from sqlalchemy import Column, Integer, LargeBinary
from sqlmodel import Field

from app.database.schema import Base, UtcTime, text_column


class OutboxMessage(Base, table=True):
    """A message to a receiver outside, written in the transaction of the event that it is about.

    Attributes:
        delivery_id: A random id, the same at each attempt, by which a receiver recognises a repeated message.
        target: The name of the kind of receiver (app/background/outbox/targets.py).
        kind: The kind of message, of the target's own choice.
        recipient: The receiver as it is shown: an address without secrets. "" where the target has one receiver.
        content: The message, in a form of the target's own choice.
        state: pending, delivered, failed (undeliverable, see `reason`).
        attempts: Attempts that the receiver refused or did not answer, and the successful one.
        next_at: The time of the next attempt; NULL unless pending.
        finished_at: The time at which the message was delivered or failed; NULL while pending.
        reply: The last reply of the receiver, shortened.
        reason: Why the last attempt did not succeed.
        owner: The process that delivers the message, NULL for none.
    """

    __tablename__ = "outbox_messages"
    delivery_id: str = text_column(key=True)
    target: str = text_column(nullable=False)
    kind: str = text_column(nullable=False)
    recipient: str = text_column(nullable=False)
    execution_project: str = text_column(nullable=False)
    execution_domain: str = text_column(nullable=False)
    execution_name: str = text_column(nullable=False)
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    state: str = text_column(nullable=False)
    attempts: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    next_at: datetime | None = Field(sa_type=UtcTime)
    finished_at: datetime | None = Field(sa_type=UtcTime)
    reply: str | None = text_column()
    reason: str | None = text_column()
    owner: str | None = text_column()
    leased_until: datetime | None = Field(sa_type=UtcTime)
