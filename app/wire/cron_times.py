"""The times at which five cron fields fire, in a time zone with daylight-saving changes.

A time zone skips some wall clock times (a gap, when clocks go forward) and repeats others (when they go back). By
default a wall clock time in a gap fires never and a repeated one fires twice, as with robfig/cron. Two choices change
that per schedule. Fields whose hour is `*` always fire in every hour that passes.

Deviates: in time zones with changes of half an hour robfig/cron loses times and adds others. Here none is lost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal

Gap = Literal["skip", "move"]
Repeat = Literal["twice", "once"]

# The 29th of February falls on a given day of the week at least once in 40 years.
_DAYS_MAX = 40 * 366
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Fields:
    """The values of five cron fields. A field without values never fires.

    Attributes:
        weekdays: 0 is Sunday.
        stars: The names of the fields that are written as `*`.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    stars: frozenset[str] = frozenset()

    def on(self, day: date) -> bool:
        """Return whether the fields fire on a day.

        Parity: with `*` in one of the two day fields the other decides; without, either of them is enough.
        """
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        if self.stars & {"days", "weekdays"}:
            return of_month and of_week
        return of_month or of_week


def following(
    fields: Fields, zone: tzinfo, moment: datetime, *, gap: Gap = "skip", repeat: Repeat = "twice"
) -> datetime | None:
    """Return the first time after an aware moment, in UTC; None where there is none within 40 years.

    Args:
        fields: The fields.
        zone: The time zone of the fields.
        moment: The result is later than this.
        gap: `skip` drops the wall clock times in a gap; `move` fires once at the end of the gap for all of them.
        repeat: `twice` fires at both occurrences of a repeated wall clock time, `once` at the first one.
    """
    moment = moment.astimezone(UTC)
    if not (fields.minutes and fields.hours):
        return None
    for day in _days(fields, moment.astimezone(zone).date() - _DAY):
        found = _first_after(fields, zone, day, moment, gap, repeat)
        if found is not None:
            return found
    return None


def _days(fields: Fields, start: date) -> Iterator[date]:
    """Yield the days on which the fields fire, from a day on."""
    for number in range(_DAYS_MAX):
        try:
            day = start + number * _DAY
        except OverflowError:
            return
        if fields.on(day):
            yield day


def _first_after(
    fields: Fields, zone: tzinfo, day: date, moment: datetime, gap: Gap, repeat: Repeat
) -> datetime | None:
    """Return the first time of one local day after a moment."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    offset = midnight.utcoffset() or timedelta()
    try:
        end = midnight + _DAY
    except OverflowError:
        return None
    if midnight.replace(fold=1).utcoffset() == offset == end.utcoffset() == end.replace(fold=1).utcoffset():
        return _first_of_plain_day(fields, midnight.replace(tzinfo=UTC) - offset, moment)
    times = sorted(set(_of_day_with_change(fields, midnight, gap, repeat)))
    index = bisect_right(times, moment)
    return times[index] if index < len(times) else None


def _first_of_plain_day(fields: Fields, midnight: datetime, moment: datetime) -> datetime | None:
    """Return the first time after a moment of a day without a change of the offset; midnight is in UTC."""
    passed = max(-1, (moment - midnight) // _MINUTE)
    hour, minute = divmod(passed, 60) if passed >= 0 else (-1, 59)
    if hour in fields.hours:
        index = bisect_right(fields.minutes, minute)
        if index < len(fields.minutes):
            return midnight + timedelta(hours=hour, minutes=fields.minutes[index])
    index = bisect_right(fields.hours, hour)
    if index == len(fields.hours):
        return None
    return midnight + timedelta(hours=fields.hours[index], minutes=fields.minutes[0])


def _of_day_with_change(fields: Fields, midnight: datetime, gap: Gap, repeat: Repeat) -> Iterator[datetime]:
    """Yield the times of a day on which the offset changes, in any order."""
    every_hour = "hours" in fields.stars
    for hour in fields.hours:
        for minute in fields.minutes:
            wall = midnight.replace(hour=hour, minute=minute)
            # In UTC, with the offset before the change and with the one after it.
            before, after = wall.replace(fold=0).astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
            if before <= after:
                yield before
                if repeat == "twice" or every_hour:
                    yield after
            elif gap == "move" and not every_hour:
                yield _change(midnight.tzinfo, after, before)


def _change(zone: tzinfo | None, low: datetime, high: datetime) -> datetime:
    """Return the first second, in UTC, with the offset that `zone` has at `high`. `low` has another offset."""
    target = high.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == target:
            high = middle
        else:
            low = middle
    return high
