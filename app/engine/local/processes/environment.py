"""The virtual environment that tasks run in: a named one, or one of our own with flytekit, made when first needed.

Our own lies in `envs/default-<digest of what it is made of>` and is announced by the link `envs/default`, which
is set only when the environment is whole: scripts of an environment hold its path, so it cannot be built
elsewhere and moved.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.runtime import own_environment
from app.settings import Settings, redact

NAME_SETTING = "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT"
REQUIREMENTS_SETTING = "FLYTEADMIN__ENGINE__LOCAL__REQUIREMENTS"
_LAST_LINES = 5
_MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([A-Za-z_][\w.]{0,200})'")

Progress = Callable[[str], None]


class EnvironmentBroken(Exception):
    """Tasks cannot run because their environment cannot be used; the message names the setting that helps."""


# Set when this process stops. Installers have process groups of their own, so that Ctrl-C reaches the server alone.
_stopping = threading.Event()
_installers: set[subprocess.Popen[str]] = set()


def interrupt() -> None:
    """End installers that run, and let none begin: this process stops."""
    _stopping.set()
    for process in tuple(_installers):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def interrupted() -> bool:
    """Return whether the process stops, so that a broken environment is no reason to warn."""
    return _stopping.is_set()


@dataclass(frozen=True, slots=True)
class Environment:
    """path: the root of the virtual environment, without links."""

    path: Path

    @property
    def programs(self) -> Path:
        """Where its python and its scripts lie."""
        return self.path / "bin"

    @property
    def python(self) -> Path:
        return self.programs / "python"


async def ensure(settings: Settings, progress: Progress) -> Environment:
    """The environment of tasks, made first if need be; other servers that want it wait for the one that makes it.

    progress: gets one line at a time while an environment is made, from another thread
    errors: EnvironmentBroken when a named one is not there, or when ours cannot be made
    """
    return await asyncio.to_thread(_ensure, settings, progress)


def _ensure(settings: Settings, progress: Progress) -> Environment:
    path = settings.environment_path
    if settings.engine.local.environment:
        if not (path / "bin" / "python").exists():
            raise EnvironmentBroken(
                f"{NAME_SETTING}={settings.engine.local.environment} is not a virtual environment: "
                f"there is no {path / 'bin' / 'python'}"
            )
        return Environment(path.resolve())
    requirements = settings.engine.local.requirements
    target = path.parent / f"default-{_digest(requirements)}"
    if path.resolve() == target.resolve() and path.exists():
        return Environment(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held(path.parent / "default.lock", progress):
            if not (path.exists() and path.resolve() == target.resolve()):
                _make(target, requirements, progress)
                _announce(path, target)
    except OSError as error:
        raise _broken(f"{error.strerror}: {error.filename}") from error
    return Environment(target)


def missing_module_hint(message: str, requirements: tuple[str, ...]) -> str:
    """Return what to do about a module that a task did not find, "" for a message about something else.

    Args:
        message: The error of the task, or the end of its log.
        requirements: The packages that the server installs for tasks (engine.local.requirements).
    """
    found = _MISSING_MODULE.search(message)
    if found is None:
        return ""
    module = found[1].partition(".")[0]
    packages = " ".join((*requirements, module))
    return (
        f"\n\nThe environment of tasks has no module {module!r}. To install its package, start the server "
        f'with {REQUIREMENTS_SETTING}="{packages}" (what pip installs, with commas or spaces; where the package has '
        f"another name than the module, give the package's), or set {NAME_SETTING} to a virtual environment that has "
        "it. A module of your own code has to be uploaded with the workflow: pyflyte run or register with --copy all."
    )


def _digest(requirements: tuple[str, ...]) -> str:
    made_of = "\n".join((sys.version, *requirements))
    return hashlib.sha256(made_of.encode()).hexdigest()[:8]


@contextmanager
def _held(lock: Path, progress: Progress) -> Iterator[None]:
    """Hold a lock that ends with the process, so that a server that dies while it works blocks nobody."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another server is making the environment of tasks; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(target: Path, requirements: tuple[str, ...], progress: Progress) -> None:
    # What is there without having been announced was left behind half made.
    shutil.rmtree(target, ignore_errors=True)
    progress(f"making {target} (only once, takes a minute or more)")
    _run([sys.executable, "-m", "venv", str(target)], progress)
    progress(f"installing {', '.join(requirements)}")
    pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    _run([*pip, "--progress-bar=off", *requirements], progress)


def _announce(link: Path, target: Path) -> None:
    fresh = link.with_name(f".{link.name}-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.name)
    fresh.replace(link)


def _run(command: list[str], progress: Progress) -> None:
    """Run one step, passing on its lines; errors: EnvironmentBroken with the last of them."""
    variables = own_environment.of_installer()
    last: list[str] = []
    if interrupted():
        raise EnvironmentBroken("the environment of tasks is not made: the server stops")
    # The installer starts with SIGINT blocked and in a group of its own: Ctrl-C is for the server, which ends it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=variables,
            text=True,
            errors="replace",
            process_group=0,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _installers.add(process)
    try:
        if interrupted():
            # The server began to stop after the check above, before the installer was in the set.
            interrupt()
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip():
                    last = [*last[1 - _LAST_LINES :], line.rstrip()]
                    progress(line.rstrip())
    finally:
        _installers.discard(process)
    if process.returncode:
        raise _broken(f"`{' '.join(command[1:4])} …` exited with {process.returncode}: {' | '.join(last)}")


def _broken(reason: str) -> EnvironmentBroken:
    return EnvironmentBroken(
        f"the environment of tasks cannot be made: {redact(reason)}. Set {NAME_SETTING} to the path of a virtual "
        f"environment that has flytekit, or {REQUIREMENTS_SETTING} to what shall be installed"
    )
