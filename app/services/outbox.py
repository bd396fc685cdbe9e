"""The outbox: write messages to other systems in the transaction of their event, and list them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from flyteidl.core import identifier_pb2
from sqlalchemy import bindparam, select

from app.database import schema
from app.database.base import UnitOfWork
from app.database.outbox_tables import OutboxMessage
from app.database.statements import Statement
from app.runtime.context import Context
from app.runtime.outgoing import RecordedEvent
from app.services.execution_ids import execution_key

# Characters of a reply or a reason that are kept.
TEXT_LENGTH_MAX = 1000

_MESSAGES = schema.table(OutboxMessage)
_SHOWN = (
    "id",
    "delivery_id",
    "target",
    "kind",
    "recipient",
    "execution_project",
    "execution_domain",
    "execution_name",
    "state",
    "attempts",
    "created_at",
    "next_at",
    "finished_at",
    "reply",
    "reason",
)


async def put(
    ctx: Context,
    *,
    target: str,
    kind: str,
    execution: identifier_pb2.WorkflowExecutionIdentifier,
    content: bytes,
    recipient: str = "",
    delivery_id: str = "",
    delivered_at: datetime | None = None,
    undeliverable: str = "",
) -> None:
    """Write a message, in the transaction of the request. It is delivered after the commit.

    Args:
        ctx: The call.
        target: The name of the target that delivers the message.
        kind: The kind of message, of the target's own choice.
        execution: The execution that the message is about.
        content: The message, in a form of the target's own choice.
        recipient: The receiver as lists show it, without secrets.
        delivery_id: An id; a message with this id that exists already is left as it is. "" for a random one.
        delivered_at: The time of the first attempt, None for now.
        undeliverable: Why the message cannot be delivered; it is then only kept for lists.
    """
    state: Literal["pending", "failed"] = "failed" if undeliverable else "pending"
    await ctx.db.insert_if_absent(
        OutboxMessage,
        delivery_id=delivery_id or secrets.token_hex(16),
        target=target,
        kind=kind,
        recipient=recipient,
        **execution_key(execution),
        content=content,
        state=state,
        attempts=0,
        next_at=None if undeliverable else delivered_at or ctx.now,
        finished_at=ctx.now if undeliverable else None,
        reason=undeliverable[:TEXT_LENGTH_MAX] or None,
    )
    if not undeliverable and ctx.outgoing.wake not in ctx.callbacks:
        ctx.after_commit(ctx.outgoing.wake)


async def publish(ctx: Context, event: RecordedEvent) -> None:
    """Call the writers of a kind of event, in the event's transaction.

    The row of the execution is locked first. So the ids of an execution's messages have the order of its commits. An
    event of the execution itself has locked the row already.
    """
    writers = [writer for writer in ctx.outgoing.writers if event.kind in writer.kinds]
    if writers and event.kind != "workflow":
        await ctx.db.find(schema.Execution, columns=("id",), for_update=True, **execution_key(event.execution))
    for writer in writers:
        await writer.write(ctx, event)


@lru_cache(maxsize=64)
def _of_place(columns: tuple[str, ...]) -> Statement:
    equal = (_MESSAGES.c[name] == bindparam(name) for name in columns)
    shown = (_MESSAGES.c[name] for name in _SHOWN)
    query = select(*shown).where(*equal, _MESSAGES.c.id < bindparam("before"))
    return Statement(query.order_by(_MESSAGES.c.id.desc()).limit(bindparam("most")))


async def of_place(db: UnitOfWork, *, before: int, most: int, **where: str) -> Sequence[Any]:
    """Return messages without their content, the newest first.

    Args:
        db: The unit of work.
        before: Only messages with a smaller id.
        most: The number of rows.
        **where: Columns and values, such as those of an execution's key, `target` and `state`.
    """
    return await db.all(_of_place(tuple(sorted(where))), before=before, most=most, **where)
