"""Undo what a test does to the logging of its process: commands that run in it set up the server's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

_configure = structlog.configure


def _configure_for_tests(*arguments: Any, **options: Any) -> None:
    _configure(*arguments, **{**options, "cache_logger_on_first_use": False})


# A cached logger of a module would keep the set-up of one test in all later ones, unseen by capture_logs.
structlog.configure = _configure_for_tests
# Without a set-up, structlog draws a traceback with local variables for 20 ms of CPU; many tests log failures.
structlog.get_config()["processors"][-1].exception_formatter = structlog.dev.plain_traceback


@contextmanager
def restored() -> Iterator[None]:
    """Take back the set-up of structlog, and handlers and level of the root logger, when the block ends."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        if structlog.is_configured():
            structlog.reset_defaults()
            root.handlers = handlers
            root.setLevel(level)
