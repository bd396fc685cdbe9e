"""The outbox: write messages to other systems in the transaction of their event, and list them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from flyteidl.core import identifier_pb2
from sqlalchemy import bindparam, literal, select

from app.database import schema
from app.database.base import UnitOfWork
from app.database.outbox_tables import OutboxMessage
from app.database.statements import Statement
from app.runtime.context import Context
from app.runtime.outgoing import RecordedEvent
from app.services.execution_ids import execution_key, execution_path

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


def printable(text: str) -> str:
    """Return text with a blank for each character that terminals would obey or databases refuse.

    Recipients are written by users, replies by receivers. PostgreSQL refuses text with a zero byte.
    """
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


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
    ordered: bool = False,
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
        ordered: Whether the ids of the execution's messages must have the order of their commits. The transaction then
            keeps a lock on the execution's messages.
    """
    state: Literal["pending", "failed"] = "failed" if undeliverable else "pending"
    values: dict[str, Any] = {
        "delivery_id": delivery_id or secrets.token_hex(16),
        "target": target,
        "kind": kind,
        "recipient": printable(recipient),
        **execution_key(execution),
        "content": content,
        "state": state,
        "attempts": 0,
        "next_at": None if undeliverable else delivered_at or ctx.now,
        "finished_at": ctx.now if undeliverable else None,
        "reason": undeliverable[:TEXT_LENGTH_MAX] or None,
    }
    if ordered:
        await ctx.db.insert_in_order(OutboxMessage, f"outbox/{execution_path(execution)}", **values)
    else:
        await ctx.db.insert_if_absent(OutboxMessage, **values)
    if not undeliverable and ctx.outgoing.wake not in ctx.callbacks:
        ctx.after_commit(ctx.outgoing.wake)


async def publish(ctx: Context, event: RecordedEvent) -> None:
    """Call the writers of a kind of event, as the last statements of the event's transaction.

    Writers put messages with `ordered`. Later statements could wait for a transaction that waits for this one.
    """
    for writer in ctx.outgoing.writers:
        if event.kind in writer.kinds:
            await writer.write(ctx, event)


@lru_cache(maxsize=64)
def _of_place(columns: tuple[str, ...], targets: tuple[str, ...]) -> Statement:
    equal = (_MESSAGES.c[name] == bindparam(name) for name in columns)
    shown = (_MESSAGES.c[name] for name in _SHOWN)
    query = select(*shown).where(*equal, _MESSAGES.c.id < bindparam("before"))
    if targets:
        query = query.where(_MESSAGES.c.target.in_([literal(name) for name in targets]))
    return Statement(query.order_by(_MESSAGES.c.id.desc()).limit(bindparam("most")))


async def of_place(
    db: UnitOfWork, *, before: int, most: int, targets: tuple[str, ...] = (), **where: str
) -> Sequence[Any]:
    """Return messages without their content, the newest first.

    Args:
        db: The unit of work.
        before: Only messages with a smaller id.
        most: The number of rows.
        targets: Only messages of these targets; none for those of all.
        **where: Columns and values, such as those of an execution's key, `target` and `state`.
    """
    return await db.all(_of_place(tuple(sorted(where)), targets), before=before, most=most, **where)
