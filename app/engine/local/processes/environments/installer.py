"""Run uv, or venv and pip, to make a virtual environment.

A program gets the addresses of package indexes in its environment, never as arguments: they may hold passwords, and
other users can read arguments.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from app.runtime import own_environment

Progress = Callable[[str], None]

_LAST_LINES = 12
_LOCK_POLL_SECONDS = 0.2
_PIP_SETTING = re.compile(r"(?:global|install|:env:)\.([\w-]+)='(.*)'")
# Settings of pip, and the variable by which uv gets the same one. A list is separated by the second text.
_PIP_TO_UV: Mapping[str, tuple[str, str]] = {
    "index-url": ("UV_DEFAULT_INDEX", ""),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", ""),
    "client-cert": ("SSL_CLIENT_CERT", ""),
}


class StepFailed(Exception):
    """A step of an installation failed. The message has the last lines of its output."""


class InstallationStopped(Exception):
    """An installation was ended because this process stops."""


def uv_program() -> str:
    """Return the path of uv, "" without it."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where packages come from; empty for the configuration of uv or pip on this machine.

    Attributes:
        index: The address of the package index.
        extra_indexes: Further indexes.
        arguments: Further arguments of `uv pip install`.
    """

    index: str = ""
    extra_indexes: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """The packages of an environment.

    Attributes:
        arguments: Requirements and options of `pip install`, such as `-r` with a file; none installs nothing.
        sources: Where packages come from.
        with_pip: Whether the environment gets pip, for its users.
        folder: The working directory of the installer; None for that of this server. uv reads the settings of a
            project there, which would change the environment.
    """

    arguments: tuple[str, ...]
    sources: Sources = field(default_factory=Sources)
    with_pip: bool = False
    folder: Path | None = None


class Installer:
    """Runs installations, and ends them when this process stops."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._processes: set[subprocess.Popen[str]] = set()

    @property
    def stopping(self) -> bool:
        """Return whether installations are ended because this process stops."""
        return self._stopping.is_set()

    def try_lock(self, file: IO[str]) -> bool:
        """Lock a file alone; where others hold it, return False after a moment. The lock ends with the process.

        Raises:
            InstallationStopped: This process stops.
        """
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if self._stopping.wait(_LOCK_POLL_SECONDS):
                raise InstallationStopped from None
            return False
        return True

    def stop(self) -> None:
        """End the running installations and start no more."""
        self._stopping.set()
        for process in tuple(self._processes):
            _end(process)

    def make(
        self, target: Path, python: str, packages: Packages, progress: Progress, *, seconds_max: float, held: int = -1
    ) -> None:
        """Make a virtual environment in a folder that does not exist.

        Args:
            target: Its folder.
            python: The interpreter or a version such as 3.12; "" for the interpreter of this server.
            packages: Its packages.
            progress: Called with each line of output, in this thread.
            seconds_max: Time for each step.
            held: A descriptor with a lock that each step holds too, even if this process is killed; -1 for none.

        Raises:
            StepFailed: A step failed.
            InstallationStopped: This process stops.
        """
        uv = uv_program()
        own = not python or python == own_version()
        variables = _variables(packages.sources, uv=bool(uv))

        def run(command: list[str]) -> None:
            self.run(command, progress, variables=variables, seconds_max=seconds_max, held=held, folder=packages.folder)

        if own and packages.with_pip and importlib.util.find_spec("ensurepip") is not None:
            run([sys.executable, "-m", "venv", str(target)])
        elif uv:
            run([uv, "venv", "--no-project", "--color=never", "--python", python or sys.executable, str(target)])
        elif own or os.path.isabs(python):
            run([python if os.path.isabs(python) else sys.executable, "-m", "venv", str(target)])
        else:
            raise StepFailed(f"Python {python} is needed; only uv can provide it, and uv is not installed")
        if not packages.arguments:
            return
        interpreter = str(target / "bin" / "python")
        given = [*packages.sources.arguments, *packages.arguments]
        if uv:
            run([uv, "pip", "install", "--color=never", "--no-progress", "--python", interpreter, *given])
        else:
            pip = [interpreter, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
            run([*pip, "--progress-bar=off", *given])

    def run(
        self,
        command: list[str],
        progress: Progress,
        *,
        variables: Mapping[str, str] | None = None,
        seconds_max: float = 3600.0,
        held: int = -1,
        folder: Path | None = None,
    ) -> None:
        """Run one step.

        Raises:
            StepFailed: The step failed.
            InstallationStopped: This process stops.
        """
        if self.stopping:
            raise InstallationStopped
        variables = own_environment.of_installer() if variables is None else variables
        process = self._start(command, variables, held, folder)
        self._processes.add(process)
        timed_out = threading.Event()

        def end_late() -> None:
            timed_out.set()
            _end(process)

        timer = threading.Timer(seconds_max, end_late)
        timer.start()
        last: list[str] = []
        try:
            if self.stopping:
                # stop() was called after the check above and before the process was in the set.
                _end(process)
            with process:
                assert process.stdout is not None
                for line in process.stdout:
                    if line.strip():
                        last = [*last[1 - _LAST_LINES :], line.rstrip()]
                        progress(line.rstrip())
        finally:
            timer.cancel()
            self._processes.discard(process)
        if process.returncode and self.stopping:
            raise InstallationStopped
        if process.returncode:
            step = f"`{shlex.join([os.path.basename(command[0]), *command[1:3]])} …`"
            ended = f"took more than {seconds_max:g} seconds" if timed_out.is_set() else _ended(process.returncode)
            raise StepFailed(f"{step} {ended}: {' | '.join(last)}")

    def _start(
        self, command: list[str], variables: Mapping[str, str], held: int, folder: Path | None
    ) -> subprocess.Popen[str]:
        # The installer has SIGINT blocked and a process group of its own: on Ctrl-C the server ends it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(variables),
                text=True,
                errors="replace",
                process_group=0,
                cwd=folder,
                pass_fds=() if held < 0 else (held,),
            )
        except OSError as error:
            raise StepFailed(f"{command[0]} cannot be started: {error.strerror}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def own_version() -> str:
    """Return the version of this server's interpreter, such as 3.12."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _ended(code: int) -> str:
    """Return how a program ended, for messages."""
    return f"exited with {code}" if code >= 0 else f"was ended by signal {-code} ({signal.strsignal(-code)})"


def _variables(sources: Sources, *, uv: bool) -> dict[str, str]:
    variables = own_environment.of_installer()
    if uv:
        variables = {**_pip_configuration(variables), **variables}
    names = ("UV_DEFAULT_INDEX", "UV_INDEX") if uv else ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
    if sources.index:
        variables[names[0]] = sources.index
    if sources.extra_indexes:
        variables[names[1]] = " ".join(sources.extra_indexes)
    return variables


def _pip_configuration(variables: Mapping[str, str]) -> dict[str, str]:
    """Return pip's configuration as variables of uv, which does not read pip's files and variables."""
    if importlib.util.find_spec("pip") is None:
        return {}
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env=dict(variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        match = _PIP_SETTING.fullmatch(line)
        if match and match[1] in _PIP_TO_UV:
            name, separator = _PIP_TO_UV[match[1]]
            values = match[2].replace("\\n", " ").split()
            found[name] = separator.join(values) if separator else match[2]
    return found


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
