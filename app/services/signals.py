"""Signals: values that gate nodes wait for. The engine creates a signal, a user sets its value.

Proto: flyteidl/admin/signal.proto, flyteidl/service/signal.proto.
"""

from __future__ import annotations

from typing import Any

from flyteidl.admin import signal_pb2
from flyteidl.core import identifier_pb2, literals_pb2, types_pb2

from app import errors
from app.compiler.literals import check_signal
from app.database import base as db
from app.database import schema
from app.query import lists
from app.query.pages import check_limit
from app.runtime.context import Context
from app.runtime.threads import in_thread_if_large
from app.services import literal_limits
from app.services.checks import field_or_none
from app.services.execution_ids import check_execution_id, execution_id, execution_key

LISTING = lists.Listing(schema.Signal, "signal")


async def get_or_create_signal(ctx: Context, request: signal_pb2.SignalGetOrCreateRequest) -> signal_pb2.Signal:
    """Return a signal; create it if it does not exist. The execution need not exist.

    Raises:
        errors.InvalidArgument: A part of the id or the type is missing.
        errors.AlreadyExists: The signal has another type.

    Source: upstream SignalManager.GetOrCreateSignal.
    """
    _check_id(request)
    if not request.HasField("type"):
        raise errors.missing("type")
    key = _key(request.id)
    row = await ctx.db.find(schema.Signal, **key)
    if row is None:
        # If a concurrent call has inserted the signal, its row is used.
        await ctx.db.insert_if_absent(schema.Signal, **key, type=request.type.SerializeToString(deterministic=True))
        row = await ctx.db.find(schema.Signal, **key)
    found = to_message(row)
    if found.type != request.type:
        raise db.already_exists("signals_pkey")
    return found


async def list_signals(ctx: Context, request: signal_pb2.SignalListRequest) -> signal_pb2.SignalList:
    """Return a page of the signals of an execution.

    Raises:
        errors.InvalidArgument: A part of the execution's id is missing, or limit, filter, sort or token is invalid.

    Source: upstream SignalManager.ListSignals.
    """
    id = request.workflow_execution_id
    if not (id.project and id.domain and id.name):
        raise errors.missing("execution_id")
    check_limit(request.limit)
    rows, token = await lists.page(
        ctx,
        LISTING,
        rpc="ListSignals",
        where=execution_key(id),
        filters=request.filters,
        sort_by=field_or_none(request, "sort_by"),
        limit=request.limit,
        token=request.token,
    )
    return signal_pb2.SignalList(signals=[to_message(row) for row in rows], token=token)


async def set_signal(ctx: Context, request: signal_pb2.SignalSetRequest) -> signal_pb2.SignalSetResponse:
    """Set or replace the value of a signal. The engine is notified after the commit.

    Raises:
        errors.InvalidArgument: A part is missing, the signal does not exist, or the value has another type.

    Source: upstream SignalManager.SetSignal.
    """
    _check_id(request)
    if not request.HasField("value"):
        raise errors.missing("value")
    key = _key(request.id)
    row = await ctx.db.find(schema.Signal, columns=("type",), **key)
    if row is None:
        run = request.id.execution_id
        raise errors.InvalidArgument(
            f"failed to validate that signal [{{{{{run.project} {run.domain} {run.name}}} {request.id.signal_id}}}] "
            "exists, err: [signal does not exist]"
        )
    declared = types_pb2.LiteralType.FromString(row.type)
    await in_thread_if_large(request.value.ByteSize(), check_signal, request.value, declared)
    # The size limit applies to the outputs of the gate node: a map with the value.
    outputs = literals_pb2.LiteralMap(literals={request.id.signal_id: request.value})
    literal_limits.check(ctx.settings, "values", outputs)
    await ctx.db.update(schema.Signal, key, value=request.value.SerializeToString(deterministic=True))
    execution = request.id.execution_id
    ctx.after_commit(lambda: ctx.engine.signalled(execution))
    return signal_pb2.SignalSetResponse()


def to_message(row: Any) -> signal_pb2.Signal:
    """Return the message of a row."""
    message = signal_pb2.Signal(
        id=identifier_pb2.SignalIdentifier(
            signal_id=row.signal_id,
            execution_id=execution_id(row),
        ),
        type=types_pb2.LiteralType.FromString(row.type),
    )
    # Upstream writes NULL or no bytes until the signal is set.
    if row.value:
        message.value.ParseFromString(row.value)
    return message


def _key(id: identifier_pb2.SignalIdentifier) -> dict[str, Any]:
    return {**execution_key(id.execution_id), "signal_id": id.signal_id}


def _check_id(request: Any) -> None:
    """Raise INVALID_ARGUMENT if a part of a signal's id is missing (upstream validateSignalIdentifier)."""
    if not request.HasField("id"):
        raise errors.missing("id")
    if not request.id.HasField("execution_id"):
        raise errors.missing("execution_id")
    if not request.id.signal_id:
        raise errors.missing("signal_id")
    check_execution_id(request.id.execution_id)
