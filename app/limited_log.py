"""Log lines that many requests may cause, limited in rate: a flood of requests must not fill the log."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any

import structlog

SECONDS_BETWEEN = 60.0
# So many different lines are counted apart; then counting begins anew.
LINES_MAX = 1000

log = structlog.get_logger(__name__)
_logged_at: dict[Hashable, float] = {}
_left_out: dict[Hashable, int] = {}


def warning(event: str, *, key: Hashable = None, **fields: Any) -> None:
    """Log a warning, at most one in SECONDS_BETWEEN of the same event and key; `left_out_before` counts the others."""
    _log("warning", event, key, fields)


def error(event: str, *, key: Hashable = None, **fields: Any) -> None:
    """Log an error as `warning` does."""
    _log("error", event, key, fields)


def clear() -> None:
    """Log each line again at once, for tests."""
    _logged_at.clear()
    _left_out.clear()


def _log(level: str, event: str, key: Hashable, fields: dict[str, Any]) -> None:
    now, line = time.monotonic(), (event, key)
    if now - _logged_at.get(line, -SECONDS_BETWEEN) < SECONDS_BETWEEN:
        _left_out[line] = _left_out.get(line, 0) + 1
        return
    if len(_logged_at) >= LINES_MAX:
        clear()
    _logged_at[line] = now
    getattr(log, level)(event, **fields, left_out_before=_left_out.pop(line, 0))
