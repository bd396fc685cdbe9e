"""Wrong clocks: the code of a block, and the tasks that it starts, see another time than the rest of the process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest

_ahead: ContextVar[timedelta] = ContextVar("ahead", default=timedelta())


class _AnyDatetime(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, datetime)


class ShiftedDatetime(datetime, metaclass=_AnyDatetime):
    """Stands in for datetime in the modules of the product."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + _ahead.get()


def shift(patch: pytest.MonkeyPatch) -> None:
    """Let all imported modules of the product read clocks that `clock_ahead` sets."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "app" and vars(module).get("datetime") is datetime:
            patch.setattr(module, "datetime", ShiftedDatetime)


@contextmanager
def clock_ahead(by: timedelta) -> Iterator[None]:
    """Let the clock be ahead; negative: behind."""
    before = _ahead.set(by)
    try:
        yield
    finally:
        _ahead.reset(before)
