"""One task below its supervisor: its folders and records, its log, its limits, and its end."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from app.system import system

from . import layout
from .folders import remove_tree
from .log import Log

if TYPE_CHECKING:
    import resource

_EXIT_BYTES = 8192
_REQUEST_CHARACTERS = 100
# Number of entries in the private folders beyond which a process of its own removes them.
_REMOVED_AT_ONCE = 200
# Number of processes of a task whose memory is measured.
_MEASURED_MAX = 1000
_NEEDED_FOLDERS = (layout.WORK, layout.TEMPORARY)
# The server makes the third where it has secrets for the task.
_PRIVATE_FOLDERS = (*_NEEDED_FOLDERS, layout.SECRETS)


class ForkedTask:
    """A task that its supervisor has forked. Makes the private folders.

    Args:
        request: The task, with these keys.
            directory: Its private directory. temporary: A short link to the folder `tmp` in it.
            log: Its log file. notice: Text at the beginning of the log.
            program, argv, env: The program to execute, its arguments and all its variables.
            warm: Whether to run flytekit's command `argv` in the forked interpreter instead. image: The task's image.
            held: A file that the task locks together with others until it ends; "" for none.
            worker: The key of tasks that may share a worker; "" for a process of its own. worker_tasks_max,
            worker_idle_seconds: Limits of a worker.
            data_paths: Folders outside `directory` that the task fills.
            grace_seconds, log_bytes_max, printed_bytes_max, free_bytes_min, processes_max,
            memory_bytes_max, cpus_max: Limits (spec.Limits).

    Raises:
        OSError: A private folder cannot be made, or the log cannot be opened.

    Attributes:
        pid: The pid of the task's first process, which is also its process group and its session.
        status: The status of the task's first process as waitpid returns it; None while it runs.
        usage: Time and memory of the first process as wait4 returns them; None while it runs.
        reason: Why the supervisor killed it: "terminated", "printed", "disk", "processes" or "memory"; "" if
            it did not.
        deadline: The time, by the monotonic clock, at which SIGKILL follows SIGTERM; None without SIGTERM.
        output: The descriptor of the pipe with the task's output.
        exec_error: Why the system refused to execute the program; "" if it did not.
        log: The log.
        good_end: The record of its end without the end of its output, after `finish` of a task that has ended well.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.directory: str = request["directory"]
        self.pid = 0
        self.status: int | None = None
        self.usage: resource.struct_rusage | None = None
        self.reason = ""
        self.deadline: float | None = None
        self.output = -1
        self.exec_error = ""
        self.good_end: dict[str, Any] | None = None
        self._memory_bytes = 0
        for name in _NEEDED_FOLDERS:
            _make_folder(os.path.join(self.directory, name))
        self.log = Log(request["log"], request["log_bytes_max"], request["notice"])
        self._oom_kills = system.oom_kills()

    def link_temporary(self) -> None:
        """Make the short link to the temporary folder.

        Raises:
            OSError: Something else has the path of the link.
        """
        link, folder = self.request["temporary"], os.path.join(self.directory, layout.TEMPORARY)
        try:
            os.symlink(folder, link)
        except FileExistsError:
            # An earlier start of this attempt may have been killed together with its supervisor.
            if os.path.realpath(link) != os.path.realpath(folder) or os.lstat(link).st_uid != os.geteuid():
                raise

    def claim(self, supervisor: dict[str, Any]) -> dict[str, Any]:
        """Create the record of this attempt.

        Creating a hard link fails if its name exists, so only one of several supervisors can succeed.

        Args:
            supervisor: The supervisor's `pid` and `stamp`, for the record.

        Returns:
            The record; or `error`, with `claimed` if the attempt was started before.
        """
        record = {**supervisor, "task_pid": self.pid, "started_at": time.time()}
        if not self.request["worker"]:
            # The process of a worker outlives the task, so that its end is not that of the task.
            record["task_stamp"] = system.stamp(self.pid)
        own = os.path.join(self.directory, f".process-{self.pid}")
        try:
            _write(own, json.dumps(record), os.O_TRUNC)
            # The disk space of the exit record is allocated now, so that a full disk cannot prevent writing it.
            _write(self._reserved(), " " * _EXIT_BYTES, os.O_TRUNC)
            os.link(own, os.path.join(self.directory, layout.PROCESS_RECORD))
            os.unlink(own)
        except FileExistsError:
            os.unlink(own)
            os.unlink(self._reserved())
            return {"error": "this attempt was started before", "claimed": True, "errno": 0}
        except OSError as error:
            return {"error": f"{error.strerror}: {error.filename}", "errno": error.errno}
        return record

    def withdraw(self) -> None:
        """Remove the record that `claim` has created."""
        os.unlink(os.path.join(self.directory, layout.PROCESS_RECORD))
        os.unlink(self._reserved())

    def stop_as_requested(self) -> None:
        """Obey the server's request in the private folder, if there is one (layout.STOP_REQUEST)."""
        try:
            # The task can write into its folder: in place of the request there may be a folder, or a pipe.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(os.path.join(self.directory, layout.STOP_REQUEST), flags)
            with open(descriptor, encoding="ascii", errors="replace") as file:
                request = file.read(_REQUEST_CHARACTERS)
        except OSError:
            return
        if request == layout.KILL:
            self.kill("terminated")
        elif request == layout.TERMINATE and self.deadline is None and self.status is None:
            self.reason = self.reason or "terminated"
            self.deadline = time.monotonic() + self.request["grace_seconds"]
            self.signal(signal.SIGTERM)

    def kill(self, reason: str) -> None:
        """Send SIGKILL to all processes of the task's group."""
        self.reason = self.reason or reason
        self.deadline = None
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to the task's process group."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # Before the task has called setsid there is no process group with its pid.
            if self.status is None:
                os.kill(self.pid, number)
        except PermissionError:
            # macOS reports this for a group whose members have all ended.
            return

    def enforce_time_and_output(self, now: float) -> None:
        """Kill a task that has printed too much, or whose grace period is over."""
        printed_max = self.request["printed_bytes_max"]
        if printed_max and self.log.bytes_seen > printed_max:
            self.kill("printed")
        if self.deadline is not None and now >= self.deadline:
            self.kill("terminated")

    def enforce_limits(self) -> None:
        """Kill a task that fills the disk or has too many processes. Called once a second."""
        free_min, processes_max = self.request["free_bytes_min"], self.request["processes_max"]
        # A task with few bytes on the disk is not the one that filled it.
        if free_min and self._free_bytes() < free_min and self._held_bytes(free_min) >= free_min:
            self.kill("disk")
        if processes_max and self.status is None and len(system.family(self.pid, processes_max + 1)) > processes_max:
            self.kill("processes")

    @property
    def limits_memory(self) -> bool:
        """Return whether the memory of the task is limited and has to be watched."""
        return bool(self.request["memory_bytes_max"]) and self.status is None

    def enforce_memory(self) -> None:
        """Kill a task whose processes together use more memory than it may."""
        limit = self.request["memory_bytes_max"]
        used = system.memory_of(system.family(self.pid, _MEASURED_MAX), limit)
        if used > limit:
            self._memory_bytes = used
            self.kill("memory")

    def finish(self) -> bool:
        """Record the end of the task, after all its processes have ended.

        Returns:
            Whether the private folders remain, because they hold many files. Then `remove_folders` is to be called in
            another process.
        """
        if self.status != 0:
            self.enforce_limits()
        self.log.close()
        removed = self.reason != "disk" and self._remove_few_files()
        if self.exec_error:
            self._save_exit({"code": None, "signal": None, "reason": "", "exec_error": self.exec_error})
        else:
            self._write_exit()
        return not removed

    def remove_folders(self) -> None:
        """Remove the private folders, and the raw data of a task that was killed because it filled the disk."""
        for path in self._private_folders():
            remove_tree(path, sys.maxsize)
        self.unlink_temporary()
        if self.reason != "disk":
            return
        for root in self.request["data_paths"]:
            for parent, directories, names in os.walk(root):
                # The next attempt may read the checkpoints of this one.
                directories[:] = [name for name in directories if name != "_flytecheckpoints"]
                for name in names:
                    os.unlink(os.path.join(parent, name))

    def unlink_temporary(self) -> None:
        """Remove the short link to the temporary folder."""
        if os.path.islink(self.request["temporary"]):
            os.unlink(self.request["temporary"])

    def _remove_few_files(self) -> bool:
        """Remove the private folders; return False, with a part of them removed, if they hold many files."""
        left = _REMOVED_AT_ONCE
        for path in self._private_folders():
            left = remove_tree(path, left)
            if left <= 0:
                return False
        self.unlink_temporary()
        return True

    def _private_folders(self) -> list[str]:
        """Return the folders that end with the task. The server reads the files of a raw container that ended well."""
        ended_well = self.status == 0 and not self.reason
        names = _PRIVATE_FOLDERS if ended_well else (*_PRIVATE_FOLDERS, layout.COPILOT)
        return [os.path.join(self.directory, name) for name in names]

    def _free_bytes(self) -> int:
        try:
            # By its log: the task can remove its folder.
            disk = os.fstatvfs(self.log.file)
        except OSError:
            # A network file system that has failed.
            return sys.maxsize
        return disk.f_bavail * disk.f_frsize

    def _held_bytes(self, enough: int) -> int:
        """Return the bytes on disk below the directories of the task; stop counting at `enough`."""
        total = 0
        for root in (*(os.path.join(self.directory, name) for name in _PRIVATE_FOLDERS), *self.request["data_paths"]):
            for parent, _, names in os.walk(root):
                for name in names:
                    try:
                        total += os.lstat(os.path.join(parent, name)).st_blocks * 512
                    except OSError:
                        continue
                if total >= enough:
                    return total
        return total

    def _write_exit(self) -> None:
        assert self.status is not None
        code = os.waitstatus_to_exitcode(self.status)
        record: dict[str, Any] = {
            "code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "reason": self.reason,
            "oom": self.status != 0 and system.oom_kills() > self._oom_kills,
            # Only Linux reports kills for lack of memory, in whose unit the number is.
            "peak_bytes": 1024 * self.usage.ru_maxrss if self.usage is not None else 0,
            "memory_bytes": self._memory_bytes,
            "memory_bytes_max": self.request["memory_bytes_max"],
            "printed_bytes": self.log.bytes_seen,
            "log_error": self.log.error,
            "ended_at": time.time(),
            "tail": self.log.last(2048),
        }
        while len(json.dumps(record)) > _EXIT_BYTES and record["tail"]:
            record["tail"] = record["tail"][len(record["tail"]) // 4 + 1 :]
        self._save_exit(record)
        if code == 0 and not self.reason:
            # Of other tasks the server reads the record, so that no message is long.
            self.good_end = {**record, "tail": ""}

    def _reserved(self) -> str:
        return os.path.join(self.directory, f".exit-{self.pid}")

    def _save_exit(self, record: dict[str, Any]) -> None:
        text, flags = json.dumps(record).ljust(_EXIT_BYTES), os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            _write(self._reserved(), text, flags)
        except FileNotFoundError:
            # The task can remove its folder. Without the record the server would wait for the end as long as this runs.
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            _write(self._reserved(), text, flags)
        os.rename(self._reserved(), os.path.join(self.directory, layout.EXIT_RECORD))


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        os.makedirs(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def _write(path: str, text: str, flags: int) -> None:
    """Write a file. A text file of Python takes twice the time, for a new file of this size."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    try:
        data = text.encode()
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)
