"""SIGHUP: apply the section `logger` of the settings and the files of TLS; the other settings need a restart."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from app.server import logs
from app.settings import BadSetting, load

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """The files and flags that the settings of this server were loaded from, besides the environment."""

    files: tuple[Path, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)

    def apply_logger(self) -> None:
        """Load the settings and apply the section `logger`. Settings that cannot be used are logged and ignored."""
        try:
            settings = load(self.files, self.flags).settings
        except BadSetting as error:
            log.error("settings_not_reloaded", reason=str(error))
            return
        logs.set_up(settings)
        log.info("logger_settings_reloaded", level=settings.logger.level)


def ignore_hangup() -> None:
    """Let SIGHUP end nothing before the server can reload. Child programs get the default action again."""
    signal.signal(signal.SIGHUP, lambda *_: None)


def reload_on_hangup(source: SettingsSource, *others: Callable[[], None]) -> None:
    """Reload on each SIGHUP of this process, from the event loop.

    Args:
        source: The settings, of which the section `logger` is applied.
        others: Called after that.
    """

    def reload() -> None:
        source.apply_logger()
        for other in others:
            other()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
