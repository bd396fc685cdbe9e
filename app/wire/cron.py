"""Cron expressions of launch plans: five fields, `@hourly` and the like, `@every 1h30m`, with or without a time zone.

Grammar and error texts are those of robfig/cron, which upstream uses; app/wire/cron_times.py computes the times. The
deprecated field `cron_expression` and the field `cron_schedule.schedule` have the same format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.wire import cron_times
from app.wire.cron_times import Fields, Gap, Repeat
from app.wire.go.goparse import parse_go_duration

# The largest number of Go's Atoi.
_INTEGER_MAX = 2**63 - 1


class _Field(NamedTuple):
    least: int
    most: int
    names: tuple[str, ...] = ()


_MONTHS = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (_Field(0, 59), _Field(0, 23), _Field(1, 31), _Field(1, 12, _MONTHS), _Field(0, 6, _WEEKDAYS))
_NAMES = ("minutes", "hours", "days", "months", "weekdays")
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True)
class Cron:
    """A schedule: either an interval, or five fields in a time zone.

    Attributes:
        zone: The time zone that the expression names; None without one.
        fields: The fields; None for an interval.
        every: The interval.
    """

    zone: ZoneInfo | None
    fields: Fields | None = None
    every: timedelta | None = None

    def following(
        self, moment: datetime, *, zone: tzinfo = UTC, gap: Gap = "skip", repeat: Repeat = "twice"
    ) -> datetime | None:
        """Return the first time after an aware moment, in UTC and in whole seconds; None where there is none.

        Args:
            moment: The result is later than this.
            zone: The time zone of fields where the expression names none.
            gap: The treatment of wall clock times that a change of the offset skips (cron_times.following).
            repeat: The treatment of wall clock times that a change of the offset repeats.
        """
        if self.every is not None:
            try:
                return moment.astimezone(UTC).replace(microsecond=0) + self.every
            except OverflowError:
                return None
        assert self.fields is not None
        return cron_times.following(self.fields, self.zone or zone, moment, gap=gap, repeat=repeat)


def parse_cron(text: str) -> Cron:
    """Parse a schedule.

    Raises:
        ValueError: With the text of robfig/cron.

    Source: cron.ParseStandard.
    """
    if not text:
        raise ValueError("empty spec string")
    zone = None
    if text.startswith(("TZ=", "CRON_TZ=")):
        prefix, _, text = text.partition(" ")
        # Deviates: upstream panics where nothing follows the time zone; here that is an error about missing fields.
        zone = _zone(prefix.partition("=")[2])
        text = text.strip()
    if text.startswith("@"):
        if text.startswith("@every "):
            return Cron(zone, every=_every(text))
        if text not in _DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _DESCRIPTORS[text]
    texts = text.split()
    if len(texts) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(texts)}: [{' '.join(texts)}]")
    (minutes, hours, days, months, weekdays), stars = zip(
        *(_values(field, bounds) for field, bounds in zip(texts, _FIELDS, strict=True)), strict=True
    )
    starred = frozenset(name for name, star in zip(_NAMES, stars, strict=True) if star)
    fields = Fields(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(weekdays),
        stars=starred,
    )
    return Cron(zone, fields)


def _zone(name: str) -> ZoneInfo | None:
    if name == "Local":
        return None
    if not name:
        # Parity: time.LoadLocation returns UTC for an empty name.
        return ZoneInfo("UTC")
    if ".." in name or name.startswith(("/", "\\")):
        raise ValueError(f"provided bad location {name}: time: invalid location name")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"provided bad location {name}: unknown time zone {name}") from error


def _values(field: str, bounds: _Field) -> tuple[set[int], bool]:
    """Return the values of a field, and whether one of its items is `*` or `?` without a step."""
    values: set[int] = set()
    star = False
    for item in filter(None, field.split(",")):
        range_, starred = _range(item, bounds)
        values.update(range_)
        star = star or starred
    return values, star


def _range(item: str, bounds: _Field) -> tuple[range, bool]:
    span, *steps = item.split("/")
    low, *high = span.split("-")
    star = low in ("*", "?")
    if star:
        start, end = bounds.least, bounds.most
    else:
        start = end = _number(low, bounds)
        if len(high) == 1:
            end = _number(high[0], bounds)
        elif high:
            raise ValueError(f"too many hyphens: {item}")
    step = 1
    if len(steps) == 1:
        step = _integer(steps[0])
        if not high:
            end = bounds.most
    elif steps:
        raise ValueError(f"too many slashes: {item}")
    if start < bounds.least:
        raise ValueError(f"beginning of range ({start}) below minimum ({bounds.least}): {item}")
    if end > bounds.most:
        raise ValueError(f"end of range ({end}) above maximum ({bounds.most}): {item}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {item}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {item}")
    return range(start, end + 1, step), star and step == 1


def _number(text: str, bounds: _Field) -> int:
    name = text.lower()
    return bounds.names.index(name) if name and name in bounds.names else _integer(text)


def _integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if len(text.lstrip("+-0")) > 19 or abs(int(text)) > _INTEGER_MAX:
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": value out of range')
    if int(text) < 0:
        raise ValueError(f"negative number ({int(text)}) not allowed: {text}")
    return int(text)


def _every(descriptor: str) -> timedelta:
    try:
        nanos = parse_go_duration(descriptor.removeprefix("@every "))
    except ValueError as error:
        raise ValueError(f"failed to parse duration {descriptor}: {error}") from error
    # Parity: an interval below a second, or a negative one, fires every second.
    return timedelta(seconds=max(1, nanos // 10**9))
