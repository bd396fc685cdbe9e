"""The environment that was chosen for a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.engine.local.processes.environments.wanted import Wanted


class NoEnvironment(Exception):
    """No environment can be chosen for a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The environment of a task: `wanted` to be made, `given` that exists, or neither for the default one.

    Attributes:
        wanted: The contents of an environment that this server makes.
        given: The interpreter or the folder of an environment that the setting names.
        variables: Environment variables of the image.
        notices: Notices to the user, for the log of the task.
        file: The operator's file that `wanted` was read from, with the setting that names it; "" for other sources.
    """

    wanted: Wanted | None = None
    given: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    file: str = ""
