"""The environments that this machine has made, in folders below envs/ of the home folder.

<key>/          the virtual environment; used only while the state in the record is `ready`
<key>.json      its record; the time of the last change of this file is that of the last use
<key>.log       the output of the installation
<key>.txt       the requirements that were installed
<key>.lock      locked alone by who makes or removes it, and together by tasks that use it
default         a link to the default environment, whose key is default-<hash>

The system unlocks the files of a process that is killed. So a record `making` without a lock is an installation that
was interrupted. The installer holds the lock too, so it is not made again while its installer runs on.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Literal

from pydantic import TypeAdapter, ValidationError

from app.engine.local.processes.environments import plugin
from app.engine.local.processes.environments.installer import (
    InstallationStopped,
    Installer,
    Packages,
    Progress,
    StepFailed,
)
from app.engine.local.processes.environments.wanted import Wanted
from app.settings import redact

_REMOVED = ".removed-"
_UNFINISHED_SECONDS = 3600.0
# Time for which an environment that could not be made is listed, so that its reason and its log can be read.
_FAILED_SECONDS = 86400.0
_LAST_LINE_BYTES = 4096
_LOG_BYTES_MAX = 1024 * 1024
_RECORD_BYTES_MAX = 4 * 1024 * 1024
_REQUIREMENTS_SHOWN, _REQUIREMENT_CHARACTERS = 20, 200
DEFAULT = "default"

State = Literal["making", "ready", "failed"]


class NotMade(Exception):
    """An environment cannot be made. The message names its packages and has the end of the installer's output.

    Attributes:
        cause: The message without the name and the packages of the environment.
    """

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause or message


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The description of an environment on the disk.

    Attributes:
        key: The name of its folder.
        state: making, ready, failed.
        python: The interpreter or version, "" for that of the server.
        requirements: The requirements that were asked for.
        image: The first image that it was made for.
        packages: The installed packages, as name==version.
        size_bytes: The size on the disk. Files that environments share by links count for each.
        started_at: When its making began, in seconds since 1970.
        made_at: When it was ready; 0 before.
        used_at: When it was used last; read from the file system.
        reason: Why it could not be made, without its key and packages.
        notices: Parts of its images that have no effect on this machine.
    """

    key: str
    state: State
    python: str = ""
    requirements: tuple[str, ...] = ()
    image: str = ""
    packages: tuple[str, ...] = ()
    size_bytes: int = 0
    started_at: float = 0.0
    made_at: float = 0.0
    used_at: float = field(default=0.0, compare=False)
    reason: str = ""
    notices: tuple[str, ...] = ()


_RECORDS = TypeAdapter(Record)


class EnvironmentStore:
    """Makes, lists and removes environments. Several servers of a machine may share the folder.

    Args:
        folder: The folder envs/.
        installer: Runs the steps of installations.
        seconds_max: Time for each step of an installation.
    """

    def __init__(self, folder: Path, installer: Installer, *, seconds_max: float) -> None:
        self._folder = folder
        self._installer = installer
        self._seconds_max = seconds_max

    def path(self, key: str) -> Path:
        """Return the folder of an environment."""
        return self._folder / key

    def lock_path(self, key: str) -> Path:
        """Return the file that tasks lock while they use an environment."""
        return self._folder / f"{key}.lock"

    def log_path(self, key: str) -> Path:
        """Return the file with the output of the installation."""
        return self._folder / f"{key}.log"

    def last_line(self, key: str) -> str:
        """Return the last line of the output of the installation, "" without one."""
        lines = self.log_of(key, _LAST_LINE_BYTES).splitlines()
        return redact(lines[-1]) if lines else ""

    def log_of(self, key: str, bytes_max: int) -> str:
        """Return the end of the output of the installation."""
        try:
            with self.log_path(key).open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - bytes_max))
                return log.read(bytes_max).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def is_ready(self, key: str) -> bool:
        """Return whether an environment is complete."""
        record = self.record(key)
        return record is not None and record.state == "ready" and (self.path(key) / "bin" / "python").exists()

    def touch(self, key: str) -> None:
        """Record the use of an environment."""
        try:
            os.utime(self._record_path(key))
        except FileNotFoundError:
            # Another process has just removed the environment; the next task that uses it makes it again.
            return

    def record(self, key: str) -> Record | None:
        """Return the record of an environment; None without one that can be read.

        Fields that a later version has added are ignored.
        """
        try:
            with self._record_path(key).open("rb") as file:
                used_at = os.fstat(file.fileno()).st_mtime
                found = _RECORDS.validate_json(file.read(_RECORD_BYTES_MAX))
        except (FileNotFoundError, IsADirectoryError, ValidationError):
            return None
        return replace(found, used_at=used_at) if found.key == key else None

    def all(self) -> list[Record]:
        """Return the records of all environments, the one that was used last first."""
        keys = {path.stem for path in self._folder.glob("*.json")}
        found = [record for key in keys if (record := self.record(key)) is not None]
        # Servers of earlier versions wrote no records of default environments.
        old = (path for path in self._folder.glob(f"{DEFAULT}-*") if (path / "bin" / "python").exists())
        found += [self._described(path.name) for path in old if path.name not in keys]
        return sorted((self._checked(record) for record in found), key=lambda record: -record.used_at)

    @property
    def default_key(self) -> str:
        """Return the key of the default environment, "" before it is made."""
        try:
            return os.path.basename(os.readlink(self._folder / DEFAULT))
        except OSError:
            return ""

    def make(self, wanted: Wanted, image: str, notices: tuple[str, ...] = ()) -> None:
        """Make an environment that is not ready; wait if another process makes it.

        Args:
            wanted: Its contents.
            image: The image that it is made for.
            notices: Parts of the image that have no effect.

        Raises:
            NotMade: The environment cannot be made. Only its record and its log are left.
            InstallationStopped: This process stops.
        """
        record = Record(
            key=wanted.key,
            state="making",
            python=wanted.python,
            requirements=wanted.shown,
            image=image,
            notices=notices,
        )

        def packages() -> Packages:
            file = self._folder / f"{wanted.key}.txt"
            file.touch(mode=0o600)
            file.write_text("".join(f"{line}\n" for line in wanted.requirements))
            return Packages(arguments=("-r", str(file)), sources=wanted.sources, folder=self._folder)

        self.build(record, packages)

    def build(self, record: Record, packages: Callable[[], Packages], progress: Progress | None = None) -> None:
        """Make an environment that is not ready; wait if another process makes it.

        Args:
            record: Its description.
            packages: Returns its packages, when the lock is held.
            progress: Called with each line of the installer's output, in this thread.

        Raises:
            NotMade: The environment cannot be made. Only its record and its log are left.
            InstallationStopped: This process stops.
        """
        key = record.key
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.lock_path(key).open("w") as lock:
                if self._lock_to_make(key, lock):
                    self._make(replace(record, started_at=time.time()), packages, progress, lock.fileno())
        except OSError as error:
            raise NotMade(f"environment {key} cannot be made: {_cause(error)}", _cause(error)) from error

    def describe(self, key: str) -> None:
        """Write the record of an environment that has none, because an earlier version has made it."""
        if self.record(key) is None:
            self._save(self._described(key))

    def remove(self, listed: Record) -> bool:
        """Remove an environment as `all` has listed it.

        Returns:
            False if it is the default one, is made or used at present, or was made or used since it was listed.
        """
        key = listed.key
        if key == self.default_key:
            return False
        with self.lock_path(key).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            found = self.record(key)
            if found is not None and found.used_at != listed.used_at:
                return False
            self._record_path(key).unlink(missing_ok=True)
            self._remove_folder(key)
            # The lock file stays: a task may be about to lock it.
            for suffix in (".log", ".txt"):
                (self._folder / f"{key}{suffix}").unlink(missing_ok=True)
        return True

    def clean(self) -> list[str]:
        """Remove what interrupted installations and removals have left; return the names."""
        removed = []
        for path in self._folder.glob(f"{_REMOVED}*"):
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path.name)
        for path in self._folder.glob(".*-*"):
            # A record that a killed process has begun to write.
            if path.is_file() and time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS:
                path.unlink(missing_ok=True)
        for record in self.all():
            if record.state == "failed" and self.path(record.key).exists() and self._unlocked(record.key):
                self._remove_folder(record.key)
                removed.append(record.key)
        self.forget_failed()
        return removed

    def forget_failed(self) -> None:
        """Remove the records and logs of environments that could not be made and that no task has wanted for a day."""
        for record in self.all():
            if record.state == "failed" and time.time() - record.used_at > _FAILED_SECONDS:
                self.remove(record)

    def _checked(self, record: Record) -> Record:
        """Return a record as it holds now: an installation whose process was killed has failed."""
        if record.state == "making" and self._unlocked(record.key):
            return replace(record, state="failed", reason="the installation was interrupted; the next task repeats it")
        return record

    def _unlocked(self, key: str) -> bool:
        try:
            with self.lock_path(key).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        return True

    def _lock_to_make(self, key: str, lock: IO[str]) -> bool:
        """Wait for the lock of an environment alone; return False, without waiting for its users, once it is ready.

        Raises:
            InstallationStopped: This process stops.
        """
        while not self.is_ready(key):
            if self._installer.try_lock(lock):
                return not self.is_ready(key)
        return False

    def _make(self, record: Record, packages: Callable[[], Packages], progress: Progress | None, held: int) -> None:
        key = record.key
        self._save(record)
        self._remove_folder(key)
        try:
            self._install(record, packages(), progress, held)
            plugin.install(self.path(key))
            ready = replace(
                record,
                state="ready",
                packages=packages_in(self.path(key)),
                size_bytes=_size(self.path(key)),
                made_at=time.time(),
            )
            self._save(ready)
        except InstallationStopped:
            self._remove_folder(key)
            self._record_path(key).unlink(missing_ok=True)
            raise
        except (StepFailed, OSError) as error:
            self._remove_folder(key)
            cause = _cause(error) if isinstance(error, OSError) else redact(str(error))
            reason = f"{cause} | the whole output: flyteadmin envs log {key}"
            try:
                self._save(replace(record, state="failed", reason=reason))
            except OSError as full:
                # The state stays `making`; without the lock that is read as an interrupted installation.
                reason += f"; its record cannot be written: {_cause(full)}"
            name = f"environment {key} with the packages [{shortened(record.requirements)}]"
            raise NotMade(f"{name} cannot be made: {reason}", cause) from error

    def _install(self, record: Record, packages: Packages, progress: Progress | None, held: int) -> None:
        key = record.key
        with self.log_path(key).open("w") as log:

            def write(line: str) -> None:
                if log.tell() < _LOG_BYTES_MAX:
                    log.write(f"{line}\n")
                    log.flush()
                if progress is not None:
                    progress(line)

            target = self.path(key)
            self._installer.make(target, record.python, packages, write, seconds_max=self._seconds_max, held=held)

    def _described(self, key: str) -> Record:
        """Return the description of an environment without a record."""
        target = self.path(key)
        used_at = target.stat().st_mtime
        return Record(
            key=key,
            state="ready",
            packages=packages_in(target),
            size_bytes=_size(target),
            made_at=used_at,
            used_at=used_at,
        )

    def _remove_folder(self, key: str) -> None:
        """Remove the folder of an environment, so that no part of it is ever used."""
        removed = self._folder / f"{_REMOVED}{key}-{os.getpid()}"
        try:
            self.path(key).rename(removed)
        except FileNotFoundError:
            return
        shutil.rmtree(removed, ignore_errors=True)

    def _record_path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _save(self, record: Record) -> None:
        written = {name: value for name, value in asdict(record).items() if name != "used_at"}
        fresh = self._folder / f".{record.key}-{os.getpid()}"
        try:
            fresh.write_text(json.dumps(written, indent=1))
            fresh.replace(self._record_path(record.key))
        except OSError:
            fresh.unlink(missing_ok=True)
            raise


def shortened(requirements: tuple[str, ...]) -> str:
    """Return the first requirements, and the number of the others."""
    more = len(requirements) - _REQUIREMENTS_SHOWN
    rest = f" and {more} more" if more > 0 else ""
    return ", ".join(line[:_REQUIREMENT_CHARACTERS] for line in requirements[:_REQUIREMENTS_SHOWN]) + rest


def _cause(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)


def packages_in(environment: Path) -> tuple[str, ...]:
    """Return the packages of an environment, as name==version."""
    folders = [str(path) for path in environment.glob("lib/python*/site-packages")]
    found = importlib.metadata.distributions(path=folders)
    return tuple(sorted({f"{one.metadata['Name']}=={one.version}" for one in found if one.metadata["Name"]}))


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total
