"""Primitive values of literals as text: printed as Go prints them, and parsed with the error texts of flyteidl.

Task commands and the copilot's files hold such texts.

Source: coreutils.MakePrimitive and MakeLiteral of flyteidl.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from app.wire.go import goparse


def float_text(value: float) -> str:
    """Return a float as Go's %v prints it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return goparse.go_float(value)


def value_text(value: Any) -> str:
    """Return a value of decoded JSON as Go's %v prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return float_text(float(value))
        case list():
            return f"[{' '.join(map(value_text, value))}]"
        case _:
            return f"map[{' '.join(f'{key}:{value_text(value[key])}' for key in sorted(value))}]"


def type_text(value: Any) -> str:
    """Return the type of a value of decoded JSON as Go's %T prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "float64"
        case list():
            return "[]interface {}"
        case _:
            return "map[string]interface {}"


def time_text(seconds: int, nanos: int) -> str:
    """Return a time as Go's RFC3339Nano prints it: in UTC, and without zeros at the end of the fraction."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}".zfill(19) + fraction + "Z"


def parse_duration(value: str) -> int:
    """Parse a duration such as 300ms, -1.5h or 2h45m. Returns nanoseconds. Raises ValueError."""
    try:
        return goparse.parse_go_duration(value)
    except ValueError as error:
        raise ValueError(f"failed to parse Duration [{value}], valid formats: e.g. 300ms, -1.5h, 2h45m") from error


def parse_integer(value: str) -> int:
    """Parse a decimal integer of 64 bits. Raises ValueError."""
    try:
        return goparse.parse_int(value, 64)
    except ValueError as error:
        raise ValueError(f"failed to parse integer value [{value}]") from error


def parse_float(value: str) -> float:
    """Parse a float. Raises ValueError."""
    try:
        return goparse.parse_float(value, 64)
    except ValueError as error:
        raise ValueError(f"failed to parse Float value [{value}]") from error


def parse_boolean(value: str) -> bool:
    """Parse one of Go's twelve spellings of true and false. Raises ValueError."""
    try:
        return goparse.parse_bool(value)
    except ValueError as error:
        raise ValueError(f"failed to parse Bool value [{value}]") from error


def parse_time(value: str) -> datetime:
    """Parse a time with a zone. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"failed to parse Datetime in RFC3339 format [{value}]") from error
    if moment.tzinfo is None:
        raise ValueError(f"failed to parse Datetime in RFC3339 format [{value}]: the zone is missing")
    return moment
