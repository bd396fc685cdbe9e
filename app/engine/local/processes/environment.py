"""The virtual environment of tasks: one that a setting names, or one with flytekit that the server installs itself.

The server installs it into `envs/default-<digest of its contents>`, and sets the link `envs/default` to it when the
installation is complete. It is not installed elsewhere and moved, because its scripts contain its path.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from app.engine.local.processes.environments import plugin
from app.engine.local.processes.environments.choice import Choice
from app.engine.local.processes.environments.installer import InstallationStopped, Installer, Packages, Progress
from app.engine.local.processes.environments.store import DEFAULT, EnvironmentStore, NotMade, Record
from app.engine.local.processes.environments.wanted import without_passwords
from app.settings import Settings, redact
from app.settings.engine import LocalEngine

NAME_SETTING = "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT"
REQUIREMENTS_SETTING = "FLYTEADMIN__ENGINE__LOCAL__REQUIREMENTS"
_STEP_SECONDS_MAX = 3600.0
_MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([A-Za-z_][\w.]{0,200})'")

# Runs the installers of default environments; they end with this process.
_installer = Installer()
# Locks on default environments that this process uses, so that nobody removes them.
_used: dict[Path, IO[bytes]] = {}


class EnvironmentBroken(Exception):
    """The environment of tasks cannot be used. The message names the setting to change."""


def interrupt() -> None:
    """End the running installers and start no more, because this process stops."""
    _installer.stop()


def interrupted() -> bool:
    """Return whether this process stops, so that a failed installation needs no warning."""
    return _installer.stopping


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        path: Its root, without symbolic links.
        interpreter: Its interpreter, where that is not bin/python.
        lock: The file that a task locks while it uses the environment, so that nobody removes it; None for none.
    """

    path: Path
    interpreter: Path | None = None
    lock: Path | None = None

    @cached_property
    def programs(self) -> Path:
        """Return the folder of its interpreter and scripts."""
        return self.python.parent

    @cached_property
    def python(self) -> Path:
        """Return the path of its interpreter."""
        return self.interpreter or self.path / "bin" / "python"


async def ensure(settings: Settings, progress: Progress, *, present: bool = False) -> Environment:
    """Return the environment of tasks; install it if it does not exist. One server installs it, others wait.

    Args:
        settings: The settings.
        progress: Called with each line of output of the installation, from another thread.
        present: Whether the default environment of a running server is taken, though its list of packages may differ
            from the list in the settings.

    Raises:
        EnvironmentBroken: The named environment does not exist, or the installation failed.
    """
    return await asyncio.to_thread(_ensure, settings, progress, present)


def given(folder: str, setting: str) -> Environment:
    """Return the virtual environment that a setting names.

    Raises:
        EnvironmentBroken: The environment does not exist.
    """
    path = Path(folder).expanduser().absolute()
    if not (path / "bin" / "python").exists():
        raise EnvironmentBroken(
            f"{setting}={folder} is not a virtual environment: there is no {path / 'bin' / 'python'}"
        )
    return Environment(path.resolve())


def _ensure(settings: Settings, progress: Progress, present: bool) -> Environment:
    path = settings.environment_path
    if settings.engine.local.environment:
        return given(settings.engine.local.environment, NAME_SETTING)
    store = EnvironmentStore(path.parent, _installer, seconds_max=_STEP_SECONDS_MAX)
    requirements = settings.engine.local.requirements
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = _default_key(store, requirements, present)
        # While a server makes its environment, the present one is that of its earlier list.
        if present or not (_links_to(path, store.path(key)) and plugin.is_current(store.path(key))):
            with _locked(path.parent / f"{DEFAULT}.lock", progress):
                # Another process may have installed one meanwhile.
                key = _default_key(store, requirements, present)
                target = store.path(key)
                if not _links_to(path, target):
                    _install(store, key, requirements, progress)
                    _set_link(path, target)
                elif not plugin.is_current(target):
                    plugin.install(target)
        store.describe(key)
        store.touch(key)
        _use(store.lock_path(key))
    except OSError as error:
        raise _broken(f"{error.strerror}: {error.filename}") from error
    except InstallationStopped as error:
        raise EnvironmentBroken("the environment of tasks is not made: this process stops") from error
    return Environment(store.path(key), lock=store.lock_path(key))


def _default_key(store: EnvironmentStore, requirements: tuple[str, ...], present: bool) -> str:
    """Return the key of the present default environment if it is wanted and exists, otherwise that of a list."""
    key = store.default_key if present else ""
    return key if key and (store.path(key) / "bin" / "python").exists() else f"{DEFAULT}-{_digest(requirements)}"


def _links_to(link: Path, target: Path) -> bool:
    """Return whether a link leads to a folder with an interpreter."""
    return link.resolve() == target.resolve() and (target / "bin" / "python").exists()


def _use(lock: Path) -> None:
    """Lock a file together with others until this process ends."""
    if lock not in _used:
        file = os.fdopen(os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "rb")
        fcntl.flock(file, fcntl.LOCK_SH)
        _used[lock] = file


def missing_module(message: str) -> str:
    """Return the top-level module that could not be imported, as the message of an error names it; "" for none."""
    found = _MISSING_MODULE.search(message)
    return found[1].partition(".")[0] if found else ""


def missing_module_advice(module: str, choice: Choice, image: str, local: LocalEngine) -> str:
    """Return advice on a module that a task could not import.

    Args:
        module: The module.
        choice: The environment that is chosen for the task.
        image: The image of the task.
        local: The settings of the engine.
    """
    own = "A module of your own code has to be uploaded with the workflow: pyflyte run or register with --copy all."
    if choice.given is not None:
        where = f"{choice.given}, the environment of image [{image}]"
        return f"Module {module!r} is missing in {where}. Install its package. {own}"
    if choice.wanted is not None:
        where = choice.file or "the ImageSpec or the requirements of the workflow, and register it again"
        return f"Module {module!r} is missing in the environment of image [{image}]. Add its package to {where}. {own}"
    if local.environment:
        where = f"{local.environment}, which {NAME_SETTING} names as the environment of tasks"
        return f"Module {module!r} is missing in {where}. Install its package. {own}"
    packages = " ".join((*local.requirements, module))
    return (
        f"The environment of tasks has no module {module!r}. To install its package, start the server "
        f'with {REQUIREMENTS_SETTING}="{packages}" (what pip installs, with commas or spaces; where the package has '
        f"another name than the module, give the package's), or set {NAME_SETTING} to a virtual environment that has "
        f"it. {own}"
    )


def _digest(requirements: tuple[str, ...]) -> str:
    made_of = "\n".join((sys.version, *requirements))
    return hashlib.sha256(made_of.encode()).hexdigest()[:8]


@contextmanager
def _locked(lock: Path, progress: Progress) -> Iterator[None]:
    """Hold a lock file. The system unlocks it if the process is killed.

    Raises:
        InstallationStopped: This process stops.
    """
    waits = False
    with lock.open("w") as file:
        while not _installer.try_lock(file):
            if not waits:
                progress("another process is making the environment of tasks; waiting for it")
            waits = True
        yield


def _install(store: EnvironmentStore, key: str, requirements: tuple[str, ...], progress: Progress) -> None:
    # If this process uses the environment, its folder was removed by hand.
    used = _used.pop(store.lock_path(key), None)
    if used is not None:
        used.close()

    def packages() -> Packages:
        progress(f"making {store.path(key)} (only once, takes a minute or more)")
        progress(f"installing {', '.join(requirements)}")
        arguments = tuple(_absolute(line) for line in requirements)
        return Packages(arguments=arguments, with_pip=True, folder=store.path(key).parent)

    try:
        record = Record(key=key, state="making", requirements=without_passwords(requirements))
        store.build(record, packages, progress)
    except NotMade as error:
        raise _broken(error.cause) from error


def _absolute(requirement: str) -> str:
    """Return a requirement whose path does not depend on the working directory of the installer."""
    path, bracket, extras = requirement.partition("[")
    if path.startswith(".") or ("/" in path and Path(path).exists()):
        return f"{Path(path).absolute()}{bracket}{extras}"
    return requirement


def _set_link(link: Path, target: Path) -> None:
    fresh = link.with_name(f".{link.name}-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.name)
    fresh.replace(link)


def _broken(reason: str) -> EnvironmentBroken:
    return EnvironmentBroken(
        f"the environment of tasks cannot be made: {redact(reason).rstrip('.')}. "
        f"Set {NAME_SETTING} to the path of a virtual environment that has flytekit, or {REQUIREMENTS_SETTING} to what "
        "shall be installed"
    )
