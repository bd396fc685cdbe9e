"""The changes that events of executions, nodes and attempts have in common: phase, times, outcome and row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from flyteidl.core import literals_pb2
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.timestamp_pb2 import Timestamp

from app import errors
from app.database import schema
from app.runtime.context import Context
from app.services import literal_limits

_NANOSECONDS = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The years 1 to 9999.
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_799
_DURATION_NANOSECONDS_MAX = 2**63 - 1

Columns = dict[str, Any]


# Checks.


def to_datetime(timestamp: Timestamp, refusal: str = "") -> datetime:
    """Return a timestamp in the database's resolution, microseconds.

    Args:
        timestamp: A time of the event.
        refusal: The message of the error.

    Raises:
        errors.InvalidArgument: A datetime cannot represent the time.
    """
    seconds, nanos = timestamp.seconds, timestamp.nanos
    if not (_SECONDS_MIN <= seconds <= _SECONDS_MAX and 0 <= nanos < _NANOSECONDS):
        raise errors.InvalidArgument(refusal)
    # Timestamp.ToDatetime returns the same in six times the time.
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)


def check_times(event: Any) -> None:
    """Raise INVALID_ARGUMENT if a time of a node or task event cannot be represented."""
    to_datetime(event.occurred_at, "failed to read event timestamp")
    to_datetime(event.reported_at, "failed to read event reported_at timestamp")


def check_output_size(ctx: Context, data: literals_pb2.LiteralMap) -> None:
    """Raise an error if inline outputs exceed a size limit.

    Raises:
        errors.ResourceExhausted: More than remoteData.maxSizeInBytes.
        errors.InvalidArgument: More than storage.limits.maxDownloadMBs.
    """
    size, size_max = data.ByteSize(), ctx.settings.remote_data.max_size_in_bytes
    if size_max and size > size_max:
        raise errors.ResourceExhausted(f"Output data size exceeds platform configured threshold ({size} > {size_max})")
    literal_limits.check(ctx.settings, "outputs", data)


# Closures. Each function changes a closure and returns the columns of the row that change with it.


def reported_at(event: Any) -> Timestamp:
    """Return when the engine sent the event, or when the change occurred if that is missing."""
    reported: Timestamp = event.reported_at
    occurred: Timestamp = event.occurred_at
    return reported if reported.seconds or reported.nanos else occurred


def set_phase(closure: Any, event: Any, phases: EnumTypeWrapper, updated_at_column: str) -> Columns:
    """Set phase and update time in the closure of a node or attempt; return these columns."""
    closure.phase = event.phase
    closure.updated_at.CopyFrom(reported_at(event))
    return {"phase": phases.Name(event.phase), updated_at_column: to_datetime(reported_at(event))}


def set_times(closure: Any, event: Any, started_at: datetime | None, *, starts: bool, ends: bool) -> Columns:
    """Set the start time or the duration in the closure of an execution, node or attempt; return the column.

    Args:
        closure: The closure to change.
        event: The event.
        started_at: The stored start time.
        starts: Whether the event starts the execution, node or attempt.
        ends: Whether the event ends it.
    """
    if starts:
        closure.started_at.CopyFrom(event.occurred_at)
        return {"started_at": to_datetime(event.occurred_at)}
    if ends and started_at is not None:
        duration = _nanoseconds_between(started_at, event.occurred_at)
        closure.duration.FromNanoseconds(duration)
        return {"duration": duration}
    return {}


def _nanoseconds_between(start: datetime, end: Timestamp) -> int:
    """Return the time between a stored start and the time of an event; negative if the event is older.

    Parity: a duration outside int64, 292 years, becomes the longest int64 duration (time.Time.Sub in Go).
    """
    seconds = int(start.timestamp()) if start.microsecond == 0 else int(start.replace(microsecond=0).timestamp())
    exact = (end.seconds - seconds) * _NANOSECONDS + end.nanos - start.microsecond * 1000
    return max(-_DURATION_NANOSECONDS_MAX - 1, min(exact, _DURATION_NANOSECONDS_MAX))


def set_outcome(closure: Any, event: Any, output_uri: str) -> Columns:
    """Set outputs or error in the closure of a node or attempt; return the columns of the error."""
    outcome = event.WhichOneof("output_result")
    if output_uri:
        closure.output_uri = output_uri
    elif outcome == "output_data":
        closure.output_data.CopyFrom(event.output_data)
    elif outcome == "error":
        closure.error.CopyFrom(event.error)
        return {"error_kind": error_kind(event.error), "error_code": event.error.code}
    return {}


def error_kind(error: Any) -> str:
    """Return the name of an error's kind, or its number if it has no name."""
    return str(type(error).ErrorKind.Name(error.kind)) if error.kind in (0, 1, 2) else str(error.kind)


def late_inputs(row: Any, input_uri: str) -> Columns:
    """Return the column input_uri if the row has no inputs and the event has."""
    return {"input_uri": input_uri} if input_uri and not row.input_uri else {}


# Rows.


async def insert_or_update(
    ctx: Context,
    model: type[schema.Base],
    key: Columns,
    *,
    first: Columns | None,
    check: Callable[[Any], None],
    later: Callable[[Any], Columns],
) -> None:
    """Insert the row of a node or attempt, or lock and change the row if it exists.

    Args:
        ctx: The call.
        model: The table.
        key: The key of the row.
        first: The columns of a new row; None if the row is known to exist.
        check: Raises an error if the event may not change the locked row.
        later: Returns the columns that the event changes in the locked row.
    """
    if first is not None and await ctx.db.insert_if_absent(model, **key, **first) is not None:
        return
    row = await ctx.db.find(model, for_update=True, **key)
    check(row)
    await ctx.db.update(model, key, **later(row))
