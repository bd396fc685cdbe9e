"""Options of schedules from annotations, and the slots that follow from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.schedules.options import PREFIX, Options, of_annotations
from app.services.schedules.slots import NeverFires, delay_seconds, execution_name, timing

KEY = ("p", "d", "n", "v")
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def chosen(**annotations: str) -> Options:
    named = {f"{PREFIX}{name.replace('_', '-')}": value for name, value in annotations.items()}
    return of_annotations({**named, "other": "value"}, Options())


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        ("overlap", "buffer-one", {"overlap": "buffer-one"}),
        ("catchup", "last", {"catch_up": "last"}),
        ("catchup", "1h30m", {"catch_up": "all", "catch_up_seconds": 5400.0}),
        ("jitter", " 10m ", {"jitter_seconds": 600.0}),
        ("dst", "move-gap,once", {"gap": "move", "repeat": "once"}),
        ("dst", "twice, skip-gap", {"gap": "skip", "repeat": "twice"}),
        ("timezone", "Europe/Berlin", {"zone": "Europe/Berlin"}),
        ("pause_after", "3", {"pause_after": 3}),
    ],
)
def test_known_values(annotation: str, value: str, expected: dict[str, Any]) -> None:
    assert chosen(**{annotation: value}) == Options(**expected)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("overlap", "never"),
        ("catchup", "tomorrow"),
        ("catchup", "-5m"),
        ("jitter", ""),
        ("dst", "once,twice,once"),
        ("timezone", "Mars/Olympus"),
        ("timezone", "../etc/passwd"),
        ("pause_after", "-1"),
        ("pause_after", "99999999999"),
        ("unknown", "1"),
    ],
)
def test_an_unknown_value_counts_as_absent_and_is_named(annotation: str, value: str) -> None:
    options = chosen(**{annotation: value})
    [problem] = options.problems
    assert problem.startswith(f"annotation {PREFIX}{annotation.replace('_', '-')}: ")
    assert Options(problems=options.problems) == options


@given(st.dictionaries(st.text(max_size=12).map(PREFIX.__add__), st.text(max_size=20), max_size=4))
def test_any_annotations_are_options_or_problems(annotations: dict[str, str]) -> None:
    assert len(of_annotations(annotations, Options()).problems) <= len(annotations)


@pytest.mark.parametrize(
    ("cron", "value", "unit"), [("bad", 0, 0), ("", 0, 0), ("", -1, 0), ("", 1, 9), ("", 10**15, 2)]
)
def test_a_row_that_cannot_be_evaluated(cron: str, value: int, unit: int) -> None:
    row = SimpleNamespace(cron_expression=cron, fixed_rate_value=value, unit=unit)
    with pytest.raises(NeverFires):
        timing(row, Options(), utc=True)


def test_the_time_zone_of_the_annotation_counts_where_the_expression_names_none() -> None:
    for cron, hour in (("30 2 * * *", 1), ("CRON_TZ=UTC 30 2 * * *", 2), ("CRON_TZ=Asia/Tokyo 30 2 * * *", 17)):
        row = SimpleNamespace(cron_expression=cron, fixed_rate_value=0, unit=0)
        slot = timing(row, chosen(timezone="Europe/Berlin"), utc=True).following(MOMENT)
        assert slot is not None
        assert slot.hour == hour


def test_the_name_of_an_execution_is_upstreams() -> None:
    assert execution_name(KEY, MOMENT) == execution_name(KEY, MOMENT + timedelta(microseconds=5))
    assert execution_name(("a", "b", "c", "d"), datetime.fromtimestamp(0, UTC)) == "f43b8e7f6a06138e8000"


@given(st.text(min_size=1, max_size=20), st.integers(1, 100_000), st.integers(60, 100_000))
def test_jitter_is_constant_and_shorter_than_the_time_to_the_next_slot(name: str, jitter: int, distance: int) -> None:
    options, key = Options(jitter_seconds=jitter), ("p", "d", name, "v")
    delays = {
        delay_seconds(key, options, slot, slot + timedelta(seconds=distance))
        for slot in (MOMENT, MOMENT + timedelta(days=1))
    }
    [delay] = delays
    assert 0 <= delay < min(jitter, distance)
