"""Go's spelling of numbers, times and durations, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from app.wire.go import gotext


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.5, "0.5"),
        (100000.0, "100000"),
        (1000000.0, "1e+06"),
        (123456789.0, "1.23456789e+08"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-2.5, "-2.5"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_floats(value: float, text: str) -> None:
    assert gotext.float_text(value) == text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (2_000_000, "2ms"),
        (1_000_000_000, "1s"),
        (90_500_000_000, "1m30.5s"),
        (3_600_000_000_000, "1h0m0s"),
        (-1_500_000_000, "-1.5s"),
    ],
)
def test_durations(nanoseconds: int, text: str) -> None:
    assert gotext.parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (0, 0, "1970-01-01T00:00:00Z"),
        (1_700_000_000, 120_000_000, "2023-11-14T22:13:20.12Z"),
        (-62135596800, 1, "0001-01-01T00:00:00.000000001Z"),
    ],
)
def test_times(seconds: int, nanos: int, text: str) -> None:
    assert gotext.time_text(seconds, nanos) == text


def test_times_read_back() -> None:
    assert gotext.parse_time("2023-11-14T22:13:20Z") == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert gotext.parse_time("2023-11-14T23:13:20+01:00") == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((gotext.parse_duration, text) for text in ("", "5", "1x", "1h 2m", "-", "1.2.3s")),
        *((gotext.parse_integer, text) for text in ("", "1.0", "1_0", "abc", str(2**63))),
        *((gotext.parse_float, text) for text in ("", "x", "1_0.0")),
        *((gotext.parse_boolean, text) for text in ("", "yes", "tRUE")),
        *((gotext.parse_time, text) for text in ("", "now", "2023-11-14T22:13:20")),
    ],
)
def test_what_go_would_refuse(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match="failed to parse"):
        parse(text)
