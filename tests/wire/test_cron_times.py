"""The times of cron fields in time zones: against a search through every minute, and in hours of change."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim
from hypothesis import example, given
from hypothesis import strategies as st

from app.wire.cron import Cron, parse_cron

MINUTE = timedelta(minutes=1)

# Expression, zone, start, then the times in UTC by default, with `gap="move"`, and with `repeat="once"`.
BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
CHANGES = [
    # Clocks go forward at 01:00 UTC on the 29th of March 2026 in Berlin.
    ("30 2 * * *", BERLIN, "2026-03-29T00:00", ["30T00:30"], ["29T01:00", "30T00:30"], ["30T00:30"]),
    ("*/20 2 * * *", BERLIN, "2026-03-29T00:00", ["30T00:00"], ["29T01:00", "30T00:00"], ["30T00:00"]),
    ("30 * * * *", BERLIN, "2026-03-29T00:00", ["29T00:30", "29T01:30"], ["29T00:30", "29T01:30"], ["29T00:30"]),
    # They go back at 01:00 UTC on the 25th of October.
    ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["25T00:30", "25T01:30", "26T01:30"], None, ["25T00:30", "26T01:30"]),
    ("0 */2 * * *", BERLIN, "2026-10-24T23:00", ["25T00:00", "25T01:00", "25T03:00"], None, ["25T00:00", "25T03:00"]),
    ("30 * * * *", BERLIN, "2026-10-25T00:00", ["25T00:30", "25T01:30"], None, ["25T00:30", "25T01:30"]),
    ("30 1 * * *", NEW_YORK, "2026-11-01T00:00", ["01T05:30", "01T06:30"], None, ["01T05:30", "02T06:30"]),
    # Half an hour: back at 15:00 UTC on the 4th of April, forward at 15:30 on the 3rd of October.
    ("40 * * * *", LORD_HOWE, "2026-04-04T14:00", ["04T14:40", "04T15:10", "04T16:10"], None, ["04T14:40", "04T15:10"]),
    ("*/20 2 * * *", LORD_HOWE, "2026-04-04T14:00", ["04T15:30", "04T15:50", "04T16:10"], None, None),
    ("45 1 * * *", LORD_HOWE, "2026-10-03T14:00", ["03T15:15", "04T14:45"], None, ["03T15:15", "04T14:45"]),
    ("40 * * * *", LORD_HOWE, "2026-10-03T14:00", ["03T14:10", "03T15:10", "03T15:40"], None, None),
]


@pytest.mark.parametrize(("written", "zone", "start", "plain", "moved", "once"), CHANGES)
def test_times_in_hours_of_change(
    written: str, zone: str, start: str, plain: list[str], moved: list[str] | None, once: list[str] | None
) -> None:
    cron = parse_cron(f"CRON_TZ={zone} {written}")
    for expected, choices in ((plain, {}), (moved, {"gap": "move"}), (once, {"repeat": "once"})):
        moment = datetime.fromisoformat(start).replace(tzinfo=UTC)
        for text in expected or ():
            found = cron.following(moment, **choices)  # type: ignore[arg-type]
            assert found is not None
            assert found.strftime("%dT%H:%M") == text, choices
            moment = found


def _by_search(cron: Cron, moment: datetime, hours: int) -> datetime | None:
    """Return the first minute after a moment whose wall clock time the fields allow, by looking at every minute."""
    assert cron.fields is not None
    minute = moment.replace(second=0, microsecond=0) + MINUTE
    for _ in range(hours * 60):
        wall = minute.astimezone(cron.zone or UTC)
        fields = cron.fields
        if wall.minute in fields.minutes and wall.hour in fields.hours and fields.on(wall.date()):
            return minute
        minute += MINUTE
    return None


_ZONES = st.sampled_from(
    [BERLIN, NEW_YORK, LORD_HOWE, "Africa/Casablanca", "Asia/Beirut", "America/Havana", "Pacific/Apia", "Asia/Tehran"]
)
_MINUTES = st.sampled_from(["*", "0", "30", "*/20", "59", "15,45", "0-10/5"])
_HOURS = st.sampled_from(["*", "0", "1", "2", "23", "*/2", "1-3", "0,12"])
_DAYS = st.sampled_from(["* *", "1-31 0", "* 0", "*/2 1"])


def _near_a_change(zone: str, year: int, number: int) -> datetime:
    """Return a moment up to a day before one of the changes of a zone in a year, or in its middle without any."""
    place, day = ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC)
    changes = []
    for _ in range(366):
        following = day + timedelta(days=1)
        if day.astimezone(place).utcoffset() != following.astimezone(place).utcoffset():
            changes.append(day)
        day = following
    return (changes or [datetime(year, 7, 1, tzinfo=UTC)])[number % max(1, len(changes))]


@given(_ZONES, st.integers(1971, 2036), st.integers(0, 3), st.integers(-1500, 1500), _MINUTES, _HOURS, _DAYS)
def test_equals_a_search_through_every_minute(
    zone: str, year: int, change: int, minutes: int, minute: str, hour: str, days: str
) -> None:
    day, weekday = days.split()
    cron = parse_cron(f"CRON_TZ={zone} {minute} {hour} {day} * {weekday}")
    moment = _near_a_change(zone, year, change) + minutes * MINUTE + timedelta(seconds=17)
    expected, found = _by_search(cron, moment, 30), cron.following(moment)
    if expected is None:
        assert found is None or found > moment + timedelta(hours=30)
    else:
        assert found == expected


@given(st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1)), _MINUTES, _HOURS, _DAYS)
def test_equals_cronsim_in_utc(start: datetime, minute: str, hour: str, days: str) -> None:
    day, weekday = days.split()
    cron, moment = parse_cron(f"{minute} {hour} {day} * {weekday}"), start.replace(tzinfo=UTC)
    assert cron.fields is not None
    # cronsim reads a step on `*` as a star, and robfig/cron as its values.
    numbers = [",".join(map(str, sorted(values))) for values in (cron.fields.days, cron.fields.weekdays)]
    day, weekday = ("*" if text == "*" else number for text, number in zip((day, weekday), numbers, strict=True))
    assert cron.following(moment) == next(CronSim(f"{minute} {hour} {day} * {weekday}", moment))


@example("Africa/Monrovia", datetime(1972, 1, 1))
@given(st.sampled_from(sorted(available_timezones())), st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1)))
def test_times_rise_in_every_zone(zone: str, start: datetime) -> None:
    for written in ("*/30 * * * *", "30 2 * * *", "0 0 29 2 *"):
        moment = start.replace(tzinfo=UTC)
        for choices in ({}, {"gap": "move", "repeat": "once"}):
            found = parse_cron(f"CRON_TZ={zone} {written}").following(moment, **choices)  # type: ignore[arg-type]
            assert found is not None
            assert found > moment
            # Until 1972 the offset of Africa/Monrovia was no whole number of minutes.
            wall = found.astimezone(ZoneInfo(zone))
            assert (wall.second, wall.microsecond) == (0, 0)


@pytest.mark.parametrize("written", ["0 0 31 2 *", "0 0 30 2 1-5", "0 0 31 4,6,9,11 *", ", * * * *"])
def test_a_date_that_never_comes_is_none_and_costs_little(written: str) -> None:
    started = time.process_time()
    found = parse_cron(f"CRON_TZ={BERLIN} {written}").following(datetime(2026, 1, 1, tzinfo=UTC))
    if "1-5" in written:
        assert found is not None
    else:
        assert found is None
    assert time.process_time() - started < 0.05


def test_the_end_of_time_is_none() -> None:
    for written in ("* * * * *", "@every 1h", "30 2 * * *"):
        assert parse_cron(written).following(datetime(9999, 12, 31, 23, 59, 30, tzinfo=UTC)) is None
