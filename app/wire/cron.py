"""Cron expressions as launch plans may have them: five fields, `@hourly` and its like, `@every 1h30m`, a time zone.

The grammar and the error texts are those of robfig/cron, which upstream uses; when an expression fires is cronsim's to
say. The deprecated field `cron_expression` and `cron_schedule.schedule` are the same text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

# The number that Go's Atoi can hold; more digits are out of range.
_INTEGER_MAX = 2**63 - 1


class _Field(NamedTuple):
    least: int
    most: int
    names: tuple[str, ...] = ()


_MONTHS = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (_Field(0, 59), _Field(0, 23), _Field(1, 31), _Field(1, 12, _MONTHS), _Field(0, 6, _WEEKDAYS))
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# Seconds, with the units that Go knows.
_UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_TERM = re.compile(r"(?P<number>[0-9]*(?:\.[0-9]*)?)(?P<unit>[^.0-9]*)")


@dataclass(frozen=True)
class Cron:
    """A schedule: either an interval, or five fields and the time zone that they are in."""

    zone: ZoneInfo | None
    # Numbers and commas, or `*`; "" where a field allows no value at all, so that it never fires.
    crontab: str
    every: timedelta | None = None

    def following(self, moment: datetime) -> datetime | None:
        """The first time after an aware moment, in UTC and to the second; None when there is none any more."""
        if self.every is not None:
            return moment.astimezone(UTC).replace(microsecond=0) + self.every
        try:
            return next(CronSim(self.crontab, moment.astimezone(self.zone or UTC))).astimezone(UTC)
        except (CronSimError, StopIteration):
            # The 31st of February, which the grammar allows.
            return None


def parse_cron(text: str) -> Cron:
    """The schedule that the text stands for.

    errors: ValueError with robfig/cron's text
    source: cron.ParseStandard
    """
    if not text:
        raise ValueError("empty spec string")
    zone = None
    if text.startswith(("TZ=", "CRON_TZ=")):
        prefix, _, text = text.partition(" ")
        # Deviates: without anything behind the time zone upstream panics; here the fields are missing.
        zone = _zone(prefix.partition("=")[2])
        text = text.strip()
    if text.startswith("@"):
        if text.startswith("@every "):
            return Cron(zone, "", _every(text))
        if text not in _DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {text}")
        return Cron(zone, _DESCRIPTORS[text])
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    parts = [_values(field, bounds) for field, bounds in zip(fields, _FIELDS, strict=True)]
    return Cron(zone, " ".join(parts) if all(parts) else "")


def _zone(name: str) -> ZoneInfo | None:
    if name in ("", "UTC", "Local"):
        return None
    if ".." in name or name.startswith(("/", "\\")):
        raise ValueError(f"provided bad location {name}: time: invalid location name")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"provided bad location {name}: unknown time zone {name}") from error


def _values(field: str, bounds: _Field) -> str:
    """The field as numbers, or `*` where it said so: only then does the other of the two day fields decide alone."""
    values: set[int] = set()
    star = False
    for item in filter(None, field.split(",")):
        range_, starred = _range(item, bounds)
        values.update(range_)
        star = star or starred
    return "*" if star else ",".join(map(str, sorted(values)))


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
    text = descriptor.removeprefix("@every ")
    try:
        seconds = sum(_terms(text), Decimal(0))
    except ValueError as error:
        raise ValueError(f"failed to parse duration {descriptor}: time: {error}") from None
    if text.startswith("-"):
        seconds = -seconds
    # Parity: what is shorter than a second, or negative, fires every second.
    return timedelta(seconds=max(1, int(seconds)))


def _terms(text: str) -> Iterator[Decimal]:
    """The parts of a Go duration such as 1h30m, in seconds without the sign."""
    position = 1 if text[:1] in ("+", "-") else 0
    if text[position:] == "0":
        return
    if position == len(text):
        raise ValueError(f'invalid duration "{text}"')
    total = Decimal(0)
    while position < len(text):
        match = _TERM.match(text, position)
        assert match is not None, "Both parts may be empty."
        number, unit = match["number"], match["unit"]
        if number in ("", ".") or len(number) > 40:
            raise ValueError(f'invalid duration "{text}"')
        if not unit:
            raise ValueError(f'missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise ValueError(f'unknown unit "{unit}" in duration "{text}"')
        total += Decimal(number) * _UNITS[unit]
        if total > Decimal(_INTEGER_MAX) * _UNITS["ns"]:
            raise ValueError(f'invalid duration "{text}"')
        yield Decimal(number) * _UNITS[unit]
        position = match.end()
