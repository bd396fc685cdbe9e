"""The last error that this process has logged, for `flyteadmin status`."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

LEVELS = ("error", "critical", "warning")
TEXT_MAX = 500

_last: dict[str, str] = {}


def remember(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep a log line of an error or warning; a processor of structlog, behind the one that masks secrets."""
    if event.get("level") in LEVELS:
        fields = {name: value for name, value in event.items() if name not in ("event", "level", "time", "exception")}
        reason = "; ".join(f"{name}={value}" for name, value in fields.items() if value not in ("", 0, None))
        if exception := str(event.get("exception", "")).strip():
            reason = f"{reason}; {exception.splitlines()[-1]}" if reason else exception.splitlines()[-1]
        _last.clear()
        _last.update(
            time=str(event.get("time", "")),
            level=str(event["level"]),
            event=str(event.get("event", ""))[:TEXT_MAX],
            reason=reason[:TEXT_MAX],
        )
    return event


def last() -> Mapping[str, str] | None:
    """Return time, level, event and reason of the last line; None before there is one."""
    return dict(_last) or None


def clear() -> None:
    """Forget the last line, for tests."""
    _last.clear()
