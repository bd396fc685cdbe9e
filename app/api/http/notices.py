"""Log lines about clients that misbehave, limited in rate: a flood of bad requests must not fill the log."""

from __future__ import annotations

import time
from typing import Any

import structlog

SECONDS_BETWEEN = 60.0

log = structlog.get_logger(__name__)
_last: dict[str, float] = {}
_left_out: dict[str, int] = {}


def warn(event: str, **fields: Any) -> None:
    """Log a warning unless one of the same event was logged within SECONDS_BETWEEN; say how many were left out."""
    now = time.monotonic()
    if now - _last.get(event, -SECONDS_BETWEEN) < SECONDS_BETWEEN:
        _left_out[event] = _left_out.get(event, 0) + 1
        return
    _last[event] = now
    log.warning(event, **fields, left_out_before=_left_out.pop(event, 0))
