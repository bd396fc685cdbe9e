"""The kinds of values that settings are made of: durations, quantities, ports, frozen sections."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SECOND_BY_UNIT = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_number = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)
_duration = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_quantity = re.compile(r"[+]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)


class Section(BaseModel):
    """A part of the settings tree: read-only, and numbers in a file serve where text is meant (`cpu: 2`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, hide_input_in_errors=True)


def seconds(value: Any) -> float:
    """Read a Go duration ("1h30m", "300ms") or a number of seconds.

    errors: ValueError saying what is allowed
    """
    # Deviates: Go reads a bare number as nanoseconds, which nobody means; here it is seconds.
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip()
    if _number.fullmatch(text):
        return float(text)
    parts = _duration.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError('allowed is a duration such as "90s", "30m" or "1h30m"')
    return sum(float(number) * SECOND_BY_UNIT[unit] for number, unit in parts)


def quantity(value: Any) -> str:
    """Check a Kubernetes quantity and keep its text ("500m", "1.5Gi"); "" means that none is set."""
    text = str(value).strip()
    if text and not _quantity.fullmatch(text):
        raise ValueError('allowed is a Kubernetes quantity such as "500m", "2" or "1.5Gi"')
    return text


class _Duration:
    """Marks a field whose key upstream spells without the unit (maxExpiresIn, here max_expires_in_seconds)."""


DURATION = _Duration()

Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0, allow_inf_nan=False), DURATION]
Quantity = Annotated[str, BeforeValidator(quantity)]
Port = Annotated[int, Field(ge=0, le=65535)]
