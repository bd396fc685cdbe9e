"""The slots of a schedule: the following one, and the name of a slot's execution."""

from __future__ import annotations

import importlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import TZPATH, ZoneInfo

from app.services.schedules.options import Options
from app.wire.cron import Cron, parse_cron

Key = tuple[str, str, str, str]

_FNV_OFFSET, _FNV_PRIME, _64_BITS = 0xCBF29CE484222325, 0x100000001B3, 2**64
# Seconds of schedule_pb2.FixedRateUnit: MINUTE, HOUR, DAY.
_UNIT_SECONDS = (60, 3_600, 86_400)
_LOCAL_ZONE = Path("/etc/localtime")


class NeverFires(ValueError):
    """The schedule cannot be evaluated; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When a schedule is due.

    Attributes:
        cron: The cron expression; None for a fixed rate.
        every: The fixed rate.
        zone: The time zone of a cron expression that names none.
        options: The choices for hours of change.
    """

    cron: Cron | None
    every: timedelta
    zone: tzinfo
    options: Options

    def following(self, slot: datetime) -> datetime | None:
        """Return the first slot after another slot, or after the activation; None where there is none.

        Parity: the phase of a rate is that of its activation, without fractions of a second.
        """
        if self.cron is None:
            try:
                return slot.astimezone(UTC).replace(microsecond=0) + self.every
            except OverflowError:
                return None
        return self.cron.following(slot, zone=self.zone, gap=self.options.gap, repeat=self.options.repeat)


def timing(row: Any, options: Options, *, utc: bool) -> Timing:
    """Return the timing of a row of schedulable_entities.

    Args:
        row: The row.
        options: The choices of the schedule.
        utc: Whether a cron expression without a time zone is in UTC; it is in the process's zone otherwise.

    Raises:
        NeverFires: The row has no schedule that this server can evaluate.
    """
    zone: tzinfo = UTC if utc else local_zone()
    if options.zone:
        zone = ZoneInfo(options.zone)
    if row.cron_expression:
        try:
            return Timing(parse_cron(row.cron_expression), timedelta(), zone, options)
        except ValueError as error:
            raise NeverFires(f"the cron expression {row.cron_expression!r} cannot be read: {error}") from error
    value, unit = row.fixed_rate_value or 0, row.unit or 0
    if value <= 0 or unit not in range(len(_UNIT_SECONDS)):
        raise NeverFires(f"a rate of {value} in unit {unit} is no schedule")
    try:
        return Timing(None, timedelta(seconds=value * _UNIT_SECONDS[unit]), zone, options)
    except OverflowError as error:
        raise NeverFires(f"a rate of {value} in unit {unit} is too long") from error


@lru_cache(maxsize=1)
def local_zone() -> tzinfo:
    """Return the time zone of the process, from TZ or the machine; UTC where neither names one."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with _LOCAL_ZONE.open("rb") as file:
            return ZoneInfo.from_file(file, key=_zone_name())
    except (OSError, ValueError):
        return UTC


@lru_cache(maxsize=1)
def tzdata_version() -> str:
    """Return the version of the time zones that slots are computed with, such as 2025b; "" where none is named."""
    for folder in TZPATH:
        try:
            with (Path(folder) / "tzdata.zi").open() as file:
                found = re.match(r"# version (\S+)", file.readline())
        except (OSError, UnicodeDecodeError):
            continue
        if found is not None:
            return found[1]
    # Systems without time zones of their own use the package.
    return str(getattr(importlib.import_module("tzdata"), "IANA_VERSION", ""))


def _zone_name() -> str:
    """Return the name of the machine's time zone, as far as the link to its file shows it."""
    parts = _LOCAL_ZONE.resolve().parts
    return "/".join(parts[parts.index("zoneinfo") + 1 :]) if "zoneinfo" in parts else "local"


@lru_cache(maxsize=1024)
def execution_name(key: Key, slot: datetime) -> str:
    """Return the name of a slot's execution. It is the key by which each slot is launched once.

    Parity: `f`, then the first 19 hexadecimal digits of a UUID whose first 8 bytes are the FNV-1 hash of key and time,
    in little-endian order.
    """
    value = _fnv_1(":".join((*key, str(int(slot.timestamp())))))
    return f"f{value.to_bytes(8, 'little').hex()}000"


def snapshot_key(key: Key) -> str:
    """Return the key of a schedule in upstream's snapshots: the FNV-1 hash of its parts, in decimal."""
    return str(_fnv_1(":".join(key)))


def _fnv_1(text: str) -> int:
    value = _FNV_OFFSET
    for byte in text.encode():
        value = value * _FNV_PRIME % _64_BITS ^ byte
    return value


def delay_seconds(key: Key, options: Options, slot: datetime, following: datetime | None) -> float:
    """Return the delay of a launch by jitter: the same for every slot, and shorter than the time to the next slot."""
    if not options.jitter_seconds:
        return 0.0
    span = options.jitter_seconds
    if following is not None:
        span = min(span, (following - slot).total_seconds())
    number = int(execution_name(key, datetime.fromtimestamp(0, UTC))[1:17], 16)
    return number / _64_BITS * span
