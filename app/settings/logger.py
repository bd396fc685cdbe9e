"""Sections `logger` and `secrets`.

Source: flytestdlib/logger and flyteplugins/go/tasks/pluginmachinery at v1.16.8.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from app.settings.values import Section

# Upstream's numbers count in this order.
LEVELS = ("panic", "fatal", "error", "warning", "info", "debug", "trace")
_OTHER_NAMES = {"critical": "fatal", "warn": "warning"}


def _level(value: Any) -> Any:
    name = str(value).strip().lower()
    name = _OTHER_NAMES.get(name, name)
    if name in LEVELS:
        return LEVELS.index(name)
    if isinstance(value, int) or name.isdecimal():
        return value
    raise ValueError(f"allowed is a name ({', '.join(LEVELS)}) or a number from 0 (panic) to {len(LEVELS) - 1} (trace)")


class Formatter(Section):
    """The form of log lines."""

    type: str = ""
    """`text` for people, `json` for one JSON object a line. Empty: `text` on a terminal, else `json`."""


class Logger(Section):
    """The log, on stderr."""

    show_source: bool = False
    """Add file, line and function to each line."""

    mute: bool = False
    """Write no log at all."""

    level: Annotated[int, BeforeValidator(_level)] = Field(default=4, ge=0, le=len(LEVELS) - 1)
    """Least severity that is logged, as a name or as upstream's number: `error` (2), `warning` (3), `info` (4),
    `debug` (5). `debug` adds each request with code and time, each SQL statement with its time, and each decision of
    the local engine."""

    formatter: Formatter = Formatter()


class Secrets(Section):
    """The places of the server's own secrets."""

    secrets_prefix: str = "/etc/secrets"
    """Folder with one file for each secret."""

    env_prefix: str = "FLYTE_SECRET_"
    """Prefix of the environment variables that hold secrets."""
