"""Times and durations of the API's JSON."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(text: str | None) -> datetime | None:
    """Return a time in RFC 3339; None without one."""
    if not text:
        return None
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def seconds_of(text: str | None) -> float | None:
    """Return the seconds of a duration such as 1.5s; None without one."""
    return float(text[:-1]) if text and text.endswith("s") else None


def took(started: datetime | None, duration: float | None, *, running: bool, now: datetime) -> float | None:
    """Return the seconds of a node or execution: of one that runs, those until now."""
    if started is None:
        return None
    if running:
        return max(0.0, (now - started).total_seconds())
    return duration


def shown(seconds: float | None) -> str:
    """Return a duration for people, such as 0.4 s, 3 min 5 s or 2 h 10 min; "" without one."""
    if seconds is None:
        return ""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def ago(text: str | None, now: datetime | None = None) -> str:
    """Return how long ago a time was, such as "3 min 5 s ago"; "" without a time."""
    at = moment(text)
    if at is None:
        return ""
    seconds = max(0.0, ((now or datetime.now(UTC)) - at).total_seconds())
    return f"{round(seconds / 60)} min ago" if 600 <= seconds < 3570 else f"{shown(seconds)} ago"
