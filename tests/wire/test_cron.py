"""Cron expressions: the grammar and texts of robfig/cron, and when they fire."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.cron import parse_cron

NOW = datetime(2024, 2, 3, 4, 5, 6, 7, tzinfo=UTC)

# The next two times after Saturday the 3rd of February 2024, 04:05:06.000007 UTC, as robfig/cron has them.
FIRES = [
    ("* * * * *", "2024-02-03T04:06:00 2024-02-03T04:07:00"),
    ("0 6 * * *", "2024-02-03T06:00:00 2024-02-04T06:00:00"),
    ("0 0 ? * MON-FRI", "2024-02-05T00:00:00 2024-02-06T00:00:00"),
    ("0 0 1 jan,Jul *", "2024-07-01T00:00:00 2025-01-01T00:00:00"),
    ("5/20 * * * *", "2024-02-03T04:25:00 2024-02-03T04:45:00"),
    ("1,,2 * * * *", "2024-02-03T05:01:00 2024-02-03T05:02:00"),
    # A day of the month and a day of the week: either, unless one of the two is a star.
    ("0 0 10 * 1", "2024-02-05T00:00:00 2024-02-10T00:00:00"),
    ("0 0 * * 1", "2024-02-05T00:00:00 2024-02-12T00:00:00"),
    ("0 0 1-31 * 1", "2024-02-04T00:00:00 2024-02-05T00:00:00"),
    ("0 0 */2 * 1", "2024-02-05T00:00:00 2024-02-07T00:00:00"),
    ("0 0 29 2 *", "2024-02-29T00:00:00 2028-02-29T00:00:00"),
    ("@hourly", "2024-02-03T05:00:00 2024-02-03T06:00:00"),
    ("@daily", "2024-02-04T00:00:00 2024-02-05T00:00:00"),
    ("@weekly", "2024-02-04T00:00:00 2024-02-11T00:00:00"),
    ("@yearly", "2025-01-01T00:00:00 2026-01-01T00:00:00"),
    ("@every 1h30m", "2024-02-03T05:35:06 2024-02-03T07:05:06"),
    ("@every 1.5s", "2024-02-03T04:05:07 2024-02-03T04:05:08"),
    ("@every 100ms", "2024-02-03T04:05:07 2024-02-03T04:05:08"),
    ("@every -5m", "2024-02-03T04:05:07 2024-02-03T04:05:08"),
    ("TZ=Asia/Tokyo 0 6 * * *", "2024-02-03T21:00:00 2024-02-04T21:00:00"),
    ("CRON_TZ=UTC @daily", "2024-02-04T00:00:00 2024-02-05T00:00:00"),
    ("  0   6 * * *\t", "2024-02-03T06:00:00 2024-02-04T06:00:00"),
]


@pytest.mark.parametrize(("written", "times"), FIRES)
def test_fires(written: str, times: str) -> None:
    cron, moment = parse_cron(written), NOW
    for expected in times.split():
        following = cron.following(moment)
        assert following is not None
        moment = following
        assert moment == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize("written", ["0 0 31 2 *", ", * * * *"])
def test_never_fires(written: str) -> None:
    assert parse_cron(written).following(NOW) is None


ATOI = 'failed to parse int from {0}: strconv.Atoi: parsing "{0}": {1}'
REFUSED = [
    ("", "empty spec string"),
    ("every day", "expected exactly 5 fields, found 2: [every day]"),
    ("0 0 3 * * *", "expected exactly 5 fields, found 6: [0 0 3 * * *]"),
    ("TZ=UTC", "expected exactly 5 fields, found 0: []"),
    ("60 * * * *", "end of range (60) above maximum (59): 60"),
    ("* 25 * * *", "end of range (25) above maximum (23): 25"),
    ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
    ("* * * * 7", "end of range (7) above maximum (6): 7"),
    ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
    ("*/0 * * * *", "step of range should be a positive number: */0"),
    ("a * * * *", ATOI.format("a", "invalid syntax")),
    ("* * * * sunday", ATOI.format("sunday", "invalid syntax")),
    ("-1 * * * *", ATOI.format("", "invalid syntax")),
    (f"{'9' * 20} * * * *", ATOI.format("9" * 20, "value out of range")),
    ("*/-2 * * * *", "negative number (-2) not allowed: -2"),
    ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
    ("1/2/3 * * * *", "too many slashes: 1/2/3"),
    ("@x", "unrecognized descriptor: @x"),
    ("@Hourly", "unrecognized descriptor: @Hourly"),
    ("@every 5", 'failed to parse duration @every 5: time: missing unit in duration "5"'),
    ("@every 5d", 'failed to parse duration @every 5d: time: unknown unit "d" in duration "5d"'),
    ("@every ", 'failed to parse duration @every : time: invalid duration ""'),
    ("@every .s", 'failed to parse duration @every .s: time: invalid duration ".s"'),
    ("@every 9999999999h", 'failed to parse duration @every 9999999999h: time: invalid duration "9999999999h"'),
    ("TZ=Foo/Bar * * * * *", "provided bad location Foo/Bar: unknown time zone Foo/Bar"),
    ("TZ=../etc * * * * *", "provided bad location ../etc: time: invalid location name"),
]


@pytest.mark.parametrize(("written", "message"), REFUSED)
def test_refused(written: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_cron(written)


@given(st.text(alphabet="0123456789*/,-? @every TZ=UTCjanmsh\t", max_size=30))
def test_any_text_is_read_or_refused(written: str) -> None:
    try:
        cron = parse_cron(written)
    except ValueError:
        return
    following = cron.following(NOW)
    assert following is None or following > NOW
