"""Commands of flyteadmin, and functions, in processes that are forked from one which has imported the program.

A program by itself takes seconds to start on a busy machine. Tests that kill hundreds of processes would take hours.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [__name__, "pytest", "app.cli.main", "app.cli.scheduler", "app.server.startup", "app.background.outbox.build"]
)


class Forked:
    """A function that runs in a process of its own.

    Args:
        function: The function, at the top level of its module.
        arguments: Its arguments.
        log: Receives the output, in place of what the file has.
    """

    def __init__(self, function: Callable[..., None], arguments: Sequence[Any], log: Path) -> None:
        self._process = _context.Process(target=_run, args=(function, tuple(arguments), str(log)), daemon=True)
        self._process.start()

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the command runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self._process.exitcode is None:
            self.send_signal(signal.SIGTERM)

    def wait(self, seconds: float | None = None) -> int:
        """Wait for the end and return the exit code."""
        self._process.join(seconds)
        assert self._process.exitcode is not None
        return self._process.exitcode


def command(arguments: Sequence[str], variables: dict[str, str], log: Path) -> Forked:
    """Start a command.

    Args:
        arguments: The arguments of flyteadmin.
        variables: Its environment.
        log: Receives its output.
    """
    return Forked(_command, (list(arguments), variables), log)


def _command(arguments: list[str], variables: dict[str, str]) -> None:
    from app.cli.main import main

    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["flyteadmin", *arguments]
    main()


def _run(function: Callable[..., None], arguments: tuple[Any, ...], log: str) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(output, descriptor)
    function(*arguments)
