"""What the three events share: ids and keys, times, outcomes, and writing what came inline."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from flyteidl.core import literals_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from app import errors
from app.blobs import BlobMissing, BlobTooLarge
from app.runtime.context import Context
from app.services import literal_limits

_DURATION_UNIT = 10**9
_DURATION_MAX = 2**63 - 1


def instant(stamp: Timestamp, refusal: str) -> datetime:
    """A protobuf time with the microseconds that the database keeps. errors: INVALID_ARGUMENT with refusal"""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise errors.InvalidArgument(refusal) from error


def _nanoseconds_since(started: datetime, end: Timestamp) -> int:
    """From a stored start to an event's end; negative where the event is older, as upstream has it.

    Parity: what the column cannot hold, some 292 years, is the longest duration that it can (Sub of Go's time).
    """
    whole = int(started.timestamp()) if started.microsecond == 0 else int(started.replace(microsecond=0).timestamp())
    exact = (end.seconds - whole) * _DURATION_UNIT + end.nanos - started.microsecond * 1000
    return max(-_DURATION_MAX - 1, min(exact, _DURATION_MAX))


def check_output_size(ctx: Context, data: literals_pb2.LiteralMap) -> None:
    size, size_max = data.ByteSize(), ctx.settings.remote_data.max_size_in_bytes
    if size_max and size > size_max:
        raise errors.ResourceExhausted(f"Output data size exceeds platform configured threshold ({size} > {size_max})")
    literal_limits.check(ctx.settings, "outputs", data)


class Inline:
    """Messages that an event carries inline, to be stored as objects before the event's row is locked.

    A lock that is held while objects are written makes others wait for the storage, and lets an older update of
    upstream's server, which waits for the lock too, overwrite this one. An object is written once and never replaced:
    two events that race for a row cannot change each other's data. The object of the loser stays and is unreferenced.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._data: dict[str, Message] = {}

    def put(self, uri: str, data: Message) -> str:
        """Remember data for a URI, which is returned; `write` stores it there or beside it."""
        self._data[uri] = data
        return uri

    def inputs(self, data: literals_pb2.LiteralMap, *parts: str) -> str:
        """The URI of an event's inputs, below metadata/<parts> (upstream common.OffloadLiteralMap)."""
        literal_limits.check(self._ctx.settings, "inputs", data)
        return self.put(self._ctx.blobs.uri("metadata", *parts, "offloaded_inputs"), data)

    def outputs(self, given: Any, *parts: str) -> str:
        """The URI of an event's outputs, which are remembered where they came inline; "" where they stay inline."""
        if (
            given.WhichOneof("output_result") != "output_data"
            or self._ctx.settings.remote_data.inline_event_data_policy != "Offload"
        ):
            return str(given.output_uri)
        return self.put(self._ctx.blobs.uri("metadata", *parts, "offloaded_outputs"), given.output_data)

    async def write(self, uris: dict[str, str]) -> dict[str, str]:
        """Store the remembered data.

        Args:
            uris: URIs by their use, some of which `put` has returned.

        Returns:
            The same URIs. One that another event has taken for other data is replaced by a name of its own.

        Raises:
            BlobError: An object cannot be stored.
        """
        return {use: await self._stored(uri) if uri in self._data else uri for use, uri in uris.items()}

    async def _stored(self, uri: str) -> str:
        blobs, data = self._ctx.blobs, self._data[uri].SerializeToString(deterministic=True)
        if await blobs.create(uri, data) or await self._holds(uri, data):
            return uri
        # Parity: upstream's name, but where an event that lost or was interrupted has left other data under it.
        own = f"{uri}-{secrets.token_hex(8)}"
        await blobs.write(own, data)
        return own

    async def _holds(self, uri: str, data: bytes) -> bool:
        """Whether the object has this content, as after an event that is sent once more."""
        try:
            return await self._ctx.blobs.read(uri, bytes_max=len(data)) == data
        except (BlobMissing, BlobTooLarge):
            return False


def kind_name(error: Any) -> str:
    return str(type(error).ErrorKind.Name(error.kind)) if error.kind in (0, 1, 2) else str(error.kind)


def reported(given: Any) -> Timestamp:
    """When the engine sent the event, else when the change happened."""
    late: Timestamp = given.reported_at
    occurred: Timestamp = given.occurred_at
    return late if late.seconds or late.nanos else occurred


def put_times(closure: Any, given: Any, started_at: datetime | None, *, starts: bool, ends: bool) -> dict[str, Any]:
    """Put start or duration into the closure of an execution, node or task; the columns of the row."""
    if starts:
        closure.started_at.CopyFrom(given.occurred_at)
        return {"started_at": instant(given.occurred_at, "")}
    if ends and started_at is not None:
        duration = _nanoseconds_since(started_at, given.occurred_at)
        closure.duration.FromNanoseconds(duration)
        return {"duration": duration}
    return {}


def put_outcome(closure: Any, given: Any, output_uri: str) -> dict[str, Any]:
    """Put outputs or error into a node's or task's closure; the error columns of the row."""
    outcome = given.WhichOneof("output_result")
    if output_uri:
        closure.output_uri = output_uri
    elif outcome == "output_data":
        closure.output_data.CopyFrom(given.output_data)
    elif outcome == "error":
        closure.error.CopyFrom(given.error)
        return {"error_kind": kind_name(given.error), "error_code": given.error.code}
    return {}
