"""The header `grpc-timeout`, which REST and gRPC clients send alike: a number and one letter for its unit.

Source: timeoutDecode of grpc-gateway v2, decodeTimeout of grpc-go.
"""

from __future__ import annotations

from app.wire.go.goparse import go_quote, parse_int

_SECONDS_BY_UNIT = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def timeout_seconds(value: str) -> float:
    """Return a timeout in seconds. Raises ValueError for a malformed one."""
    unit = value[-1:]
    if unit not in _SECONDS_BY_UNIT:
        raise ValueError("the unit is missing")
    return parse_int(value[:-1], 64) * _SECONDS_BY_UNIT[unit]


def strict_timeout_seconds(value: str) -> float:
    """Return a timeout in seconds; only 1 to 8 digits are allowed. Raises ValueError with the text of grpc-go."""
    if len(value) < 2:
        raise ValueError(f"transport: timeout string is too short: {go_quote(value)}")
    if len(value) > 9:
        raise ValueError(f"transport: timeout string is too long: {go_quote(value)}")
    if value[-1] not in _SECONDS_BY_UNIT:
        raise ValueError(f"transport: timeout unit is not recognized: {go_quote(value)}")
    if not (value[:-1].isascii() and value[:-1].isdigit()):
        raise ValueError(f"strconv.ParseUint: parsing {go_quote(value[:-1])}: invalid syntax")
    return timeout_seconds(value)
