"""Timestamps, as protobuf's own conversion makes them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from app.wire.times import put_time


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(2024, 2, 29, 12, 0, 0, 1, timezone(timedelta(hours=5, minutes=30))),
    ],
    ids=str,
)
def test_a_moment_is_put_as_protobuf_would(moment: datetime) -> None:
    put, expected = Timestamp(seconds=5, nanos=5), Timestamp()
    put_time(put, moment)
    expected.FromDatetime(moment)
    assert put == expected
