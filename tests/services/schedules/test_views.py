"""A schedule as routes and commands show it."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.services.schedules import views
from app.services.schedules.slots import Timing
from app.settings import Settings

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


class Row(defaultdict[str, Any]):
    """A row whose other columns are NULL."""

    def __init__(self, **columns: Any) -> None:
        super().__init__(lambda: None, columns)

    __getattr__ = defaultdict.__getitem__


def rate(minutes: int, last_slot: datetime) -> Row:
    return Row(fixed_rate_value=minutes, unit=0, active=True, last_slot=last_slot, plan_spec=b"")


@pytest.mark.parametrize("days", [0, 1, 40_000])
def test_the_slots_of_a_rate_are_found_at_once_however_old_its_newest_slot_is(
    monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    looks: list[datetime] = []
    following = Timing.following

    def counted(self: Timing, slot: datetime) -> datetime | None:
        looks.append(slot)
        return following(self, slot)

    monkeypatch.setattr(Timing, "following", counted)
    last = datetime(2026, 1, 1, 11, 59, 7, 999, tzinfo=UTC) - timedelta(days=days)
    shown = views.view(rate(7, last), Settings(), NOW)["next"]
    # 7 minutes divide no day: the phase is that of the newest slot.
    first = last.replace(microsecond=0)
    while days < 2 and first <= NOW:
        first += timedelta(minutes=7)
    if days < 2:
        assert shown[0] == f"{first:%Y-%m-%dT%H:%M:%SZ}"
    assert len(shown) == views.NEXT_SLOTS
    assert len(looks) <= views.NEXT_SLOTS + 1


def test_a_newest_slot_in_the_future_shows_the_slots_after_it() -> None:
    shown = views.view(rate(60, NOW + timedelta(hours=3)), Settings(), NOW)["next"]
    assert shown[0] == "2026-01-01T16:00:30Z"
