"""Types of settings: durations, quantities, ports, lists of requirements, frozen sections."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.settings.secrets import redact

SECOND_BY_UNIT = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_number = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)
_duration = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_quantity = re.compile(r"[+]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)
# A name or path, extras in brackets, an address behind @, versions, a marker.
_requirement = re.compile(
    r"""(?x)
    [^\s,;\[<>=!~@]++ (?: \s*+ \[ [^\]]*+ \] )?+ (?: \s*+ @ \s*+ [^\s,;]++ )?+
    (?: \s*+ (?: ,\s*+ )? [<>=!~]++ \s*+ [^\s,;<>=!~]++ )*+
    (?: \s*+ ; [^,\n]*+ )?+""",
)


class BadSetting(Exception):
    """A setting cannot be used; the message is one line that names the setting and what is allowed."""


class Section(BaseModel):
    """A frozen part of the settings tree. Numbers are accepted for texts, as in `cpu: 2`.

    A field that holds a secret is a `SecretStr`; a field or table whose texts may be secrets is a `Field(repr=False)`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return the section itself: it never changes. Pydantic copies each default, which takes half of `load`."""
        return self

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Return the fields for repr, addresses without their passwords."""
        for name, value in super().__repr_args__():
            yield name, _redacted(value)


def seconds(value: Any) -> float:
    """Return the seconds of a Go duration ("1h30m", "300ms") or of a number of seconds. Raises ValueError."""
    # Deviates: Go reads a bare number as nanoseconds, which no operator means; here it is seconds.
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
    """Return a Kubernetes quantity ("500m", "1.5Gi") or "" as it is. Raises ValueError for other text."""
    text = str(value).strip()
    if text and not _quantity.fullmatch(text):
        raise ValueError('allowed is a Kubernetes quantity such as "500m", "2" or "1.5Gi"')
    return text


def merged(value: Any) -> Any:
    """Return a list of tables as one table: upstream's charts write maps so, because upstream lower-cases other keys.

    A table is returned as it is.
    """
    if isinstance(value, (list, tuple)) and all(isinstance(part, dict) for part in value):
        return {key: element for part in value for key, element in part.items()}
    return value


def words(text: str) -> list[str]:
    """Return the items of a list in a text, separated by commas, spaces or both."""
    return [part for part in re.split(r"[,\s]+", text) if part]


def requirements(text: str) -> list[str]:
    """Return the requirements in a text, separated by commas, spaces or both.

    Commas and spaces inside a requirement belong to it: "numpy >=1, <3 pandas[excel,xml]" are two. A marker after a
    semicolon ends at the next comma or line.
    """
    return [re.sub(r"\s*\n\s*", " ", match[0].strip()) for match in _requirement.finditer(text)]


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    return tuple(map(_redacted, value)) if isinstance(value, tuple) else value


class _Duration:
    """Marks a field whose key upstream spells without the unit (maxExpiresIn, here max_expires_in_seconds)."""


DURATION = _Duration()


class _Requirements:
    """Marks a list of requirements in pip's form. A requirement may contain commas and spaces."""


REQUIREMENTS = _Requirements()

Requirements = Annotated[tuple[str, ...], REQUIREMENTS]
Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0, allow_inf_nan=False), DURATION]
Quantity = Annotated[str, BeforeValidator(quantity)]
Port = Annotated[int, Field(ge=0, le=65535)]
