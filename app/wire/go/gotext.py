"""Numbers, times and durations as Go prints and reads them, for commands and files. Pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from flyteidl.core import literals_pb2

from app.wire.go.goparse import parse_go_duration
from app.wire.text import text

_integer = re.compile(r"[+-]?[0-9]+")
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


def float_text(value: float) -> str:
    """A float as Go's %v prints it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    # A message as text has the digits of %v behind the name of its field.
    return "NaN" if math.isnan(value) else text(literals_pb2.Primitive(float_value=value)).partition(":")[2]


def time_text(seconds: int, nanos: int) -> str:
    """A time as Go's RFC3339Nano prints it: UTC, and only as many digits of a second as are needed."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}".zfill(19) + fraction + "Z"


def parse_duration(value: str) -> int:
    """Nanoseconds of a duration such as 300ms, -1.5h or 2h45m. errors: ValueError"""
    try:
        return parse_go_duration(value)
    except ValueError as error:
        raise ValueError(f"failed to parse Duration [{value}], valid formats: e.g. 300ms, -1.5h, 2h45m") from error


def parse_integer(value: str) -> int:
    """A decimal integer of 64 bits. errors: ValueError"""
    if not _integer.fullmatch(value) or not -(2**63) <= int(value) < 2**63:
        raise ValueError(f"failed to parse integer value [{value}]")
    return int(value)


def parse_float(value: str) -> float:
    """A float. errors: ValueError"""
    try:
        if "_" in value:
            raise ValueError
        return float(value)
    except ValueError as error:
        raise ValueError(f"failed to parse Float value [{value}]") from error


def parse_boolean(value: str) -> bool:
    """One of Go's twelve spellings of true and false. errors: ValueError"""
    if value not in _TRUE + _FALSE:
        raise ValueError(f"failed to parse Bool value [{value}]")
    return value in _TRUE


def parse_time(value: str) -> datetime:
    """A time with its zone. errors: ValueError"""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"failed to parse Datetime in RFC3339 format [{value}]") from error
    if moment.tzinfo is None:
        raise ValueError(f"failed to parse Datetime in RFC3339 format [{value}]: the zone is missing")
    return moment
