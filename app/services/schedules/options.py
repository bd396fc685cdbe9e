"""The choices of a schedule, from annotations of its launch plan.

Upstream carries the annotations along and ignores them. An unknown value counts as absent and is shown with the
schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.wire.cron_times import Gap, Repeat
from app.wire.go.goparse import parse_go_duration

PREFIX = "schedule.flyte.org/"
Overlap = Literal["allow", "skip", "buffer-one", "replace"]
CatchUp = Literal["all", "last", "none"]

_NANOS = 10**9


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of one schedule.

    Attributes:
        overlap: The treatment of a slot while an execution of the launch plan runs.
        catch_up: The slots to launch of those that passed while no scheduler ran.
        catch_up_seconds: With `all`: the age above which such a slot is dropped; None for none.
        jitter_seconds: Launches are delayed by a part of this, the same for every slot.
        gap: The treatment of wall clock times that a change of the clocks skips.
        repeat: The treatment of wall clock times that a change of the clocks repeats.
        zone: The time zone of a cron expression that names none; "" for the server's choice.
        pause_after: Pause the schedule after so many failed slots in a row; 0 for never.
        problems: A sentence for each annotation with an unknown value.
    """

    overlap: Overlap = "allow"
    catch_up: CatchUp = "all"
    catch_up_seconds: float | None = None
    jitter_seconds: float = 0.0
    gap: Gap = "skip"
    repeat: Repeat = "twice"
    zone: str = ""
    pause_after: int = 0
    problems: tuple[str, ...] = ()


def of_annotations(annotations: Mapping[str, str], defaults: Options) -> Options:
    """Return the options that the annotations choose; the others as in `defaults`."""
    options, problems = defaults, []
    for key, value in sorted(annotations.items()):
        if not key.startswith(PREFIX):
            continue
        try:
            options = _with(options, key.removeprefix(PREFIX), value.strip())
        except ValueError as error:
            problems.append(f"annotation {key}: {error}")
    return replace(options, problems=tuple(problems))


def _with(options: Options, name: str, value: str) -> Options:
    """Return the options with one annotation. Raises ValueError for an unknown name or value."""
    match name:
        case "overlap" if value in get_args(Overlap):
            return replace(options, overlap=cast(Overlap, value))
        case "catchup" if value in get_args(CatchUp):
            return replace(options, catch_up=cast(CatchUp, value), catch_up_seconds=None)
        case "catchup":
            return replace(options, catch_up="all", catch_up_seconds=_seconds(value))
        case "jitter":
            return replace(options, jitter_seconds=_seconds(value))
        case "dst" if value in ("skip-gap", "move-gap"):
            return replace(options, gap="move" if value == "move-gap" else "skip")
        case "dst" if value in ("once", "twice"):
            return replace(options, repeat="once" if value == "once" else "twice")
        case "dst" if len(parts := value.split(",")) == 2:
            return _with(_with(options, name, parts[0].strip()), name, parts[1].strip())
        case "timezone":
            return replace(options, zone=_zone(value))
        case "pause-after" if value.isdecimal() and len(value) < 10:
            return replace(options, pause_after=int(value))
        case "overlap" | "dst" | "pause-after":
            raise ValueError(f"{value!r} is not allowed; allowed are {_ALLOWED[name]}")
    raise ValueError(f"unknown name; known are {', '.join(_ALLOWED)}")


_ALLOWED = {
    "overlap": "allow, skip, buffer-one, replace",
    "catchup": "all, last, none, or a duration such as 6h",
    "jitter": "a duration such as 10m",
    "dst": "skip-gap or move-gap, and once or twice, separated by a comma",
    "timezone": "a name such as Europe/Berlin",
    "pause-after": "a number of failed slots",
}


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{value!r} is no time zone; allowed is {_ALLOWED['timezone']}") from error
    return value


def _seconds(value: str) -> float:
    seconds = parse_go_duration(value) / _NANOS
    if seconds < 0:
        raise ValueError(f"{value!r} is negative")
    return seconds
