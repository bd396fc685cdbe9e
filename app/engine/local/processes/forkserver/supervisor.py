"""The supervisor of a task: it claims the attempt, starts the task, writes its log, and records its end.

SIGUSR1 makes it send SIGTERM to the task, and SIGKILL after the grace period; SIGUSR2 makes it send SIGKILL. It ignores
SIGTERM, SIGINT, SIGHUP and SIGQUIT, so that it still records the end of the task if all processes get them. When the
first process of the task ends, all other processes of the task are killed, daemons included.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
from typing import Any, NoReturn

from . import flytekit_command, layout, stamp
from .log import Log

_EXIT_BYTES = 8192
_WATCH_SECONDS = 1.0
_REAP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PRIVATE_FOLDERS = (layout.WORK, layout.TEMPORARY, layout.SECRETS)
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def run(request: dict[str, Any], report: int) -> NoReturn:
    """Supervise one task in this forked process, and end the process.

    Args:
        request: The request, as `Supervisor` describes it.
        report: The descriptor of a pipe. It gets one JSON message, and is then closed.
    """
    code, supervisor = 1, None
    try:
        supervisor = Supervisor(request, report)
        supervisor.run()
        code = 0
    except BaseException as error:  # noqa: BLE001 - the callers belong to the fork server, which this process is not.
        traceback.print_exc()
        if supervisor is None or not supervisor.reported:
            _write_all(report, json.dumps({"error": f"{type(error).__name__}: {error}", "errno": 0}).encode())
    finally:
        os._exit(code)


class Supervisor:
    """Supervises one task.

    Args:
        request: The task, with these keys.
            directory: Its private directory. temporary: A short link to the folder `tmp` in it. log: Its log file.
            program, argv, env: The program to execute, its arguments and all its variables.
            warm: Whether to run flytekit's command `argv` in this interpreter instead. image: The task's image.
            data_paths: Folders outside `directory` that the task fills.
            grace_seconds, log_bytes_max, printed_bytes_max, free_bytes_min, processes_max: Limits (spec.Limits).
        report: The descriptor of a pipe that gets the report of the start.
    """

    def __init__(self, request: dict[str, Any], report: int) -> None:
        self.request = request
        self.report = report
        self.reported = False
        self.directory: str = request["directory"]
        self.status: int | None = None
        self.reason = ""
        self.deadline: float | None = None
        self.oom_kills = _oom_kills()
        self.pid = 0

    def run(self) -> None:
        """Start the task, report the start, and supervise the task until its end is recorded."""
        os.setsid()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        wakeup, wakeup_end = self._catch_signals()
        output, output_end = os.pipe()
        go, go_end = os.pipe()
        failure, failure_end = os.pipe()
        for name in _PRIVATE_FOLDERS:
            os.makedirs(os.path.join(self.directory, name), mode=0o700, exist_ok=True)
        self._link_temporary()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            signal.set_wakeup_fd(-1)
            for descriptor in (output, go_end, failure, wakeup, wakeup_end, self.report):
                os.close(descriptor)
            _task(self.request, parent, go, failure_end, output_end)
        for descriptor in (output_end, go, failure_end):
            os.close(descriptor)
        answer = self._start(go_end, failure)
        _write_all(self.report, json.dumps(answer).encode())
        os.close(self.report)
        self.reported = True
        if "error" in answer:
            # If the attempt was started before, its supervisor uses the link.
            if not answer.get("claimed"):
                self._unlink_temporary()
            return
        log = Log(self.request["log"], self.request["log_bytes_max"])
        self._watch(output, wakeup, log)
        self._end_leftovers()
        log.drain(output)
        log.close()
        if self.status != 0:
            self._enforce_limits()
        self._write_exit(log)
        self._free_space()

    def _link_temporary(self) -> None:
        """Make the short link to the temporary folder.

        Raises:
            FileExistsError: Something else has this path.
        """
        link, folder = self.request["temporary"], os.path.join(self.directory, layout.TEMPORARY)
        try:
            os.symlink(folder, link)
        except FileExistsError:
            # An earlier start of this attempt may have been killed together with its supervisor.
            if os.path.realpath(link) != os.path.realpath(folder) or os.lstat(link).st_uid != os.geteuid():
                raise

    def _unlink_temporary(self) -> None:
        if os.path.islink(self.request["temporary"]):
            os.unlink(self.request["temporary"])

    def _catch_signals(self) -> tuple[int, int]:
        """Return a pipe that gets the number of each signal: SIGCHLD, SIGUSR1 and SIGUSR2."""
        wakeup, wakeup_end = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(wakeup_end, False)
        for ignored in _STOPPING:
            signal.signal(ignored, signal.SIG_IGN)
        for caught in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(caught, _do_nothing)
        signal.set_wakeup_fd(wakeup_end, warn_on_full_buffer=False)
        return wakeup, wakeup_end

    def _start(self, go_end: int, failure: int) -> dict[str, Any]:
        """Claim the attempt and let the task run its program. Return the record of the task, or `error`."""
        answer = self._claim()
        if "error" not in answer:
            # The task waits for this byte. If the pipe is closed without it, the task exits.
            os.write(go_end, b"g")
        os.close(go_end)
        with os.fdopen(failure, "rb") as pipe:
            reported = pipe.read()
        if reported:
            answer = json.loads(reported)
            self._save_exit({"code": None, "signal": None, "reason": "", "exec_error": answer["error"]})
        if "error" in answer:
            os.waitpid(self.pid, 0)
        return answer

    def _claim(self) -> dict[str, Any]:
        """Create the record of this attempt; return `error` if it exists already.

        Creating a hard link fails if its name exists, so only one of several supervisors can succeed.
        """
        pid = os.getpid()
        record = {"pid": pid, "stamp": stamp.process_stamp(pid), "task_pid": self.pid, "started_at": time.time()}
        own = os.path.join(self.directory, f".process-{pid}")
        try:
            with open(own, "w", encoding="utf-8") as file:
                json.dump(record, file)
            # The disk space of the exit record is allocated now, so that a full disk cannot prevent writing it.
            with open(self._reserved(), "w", encoding="utf-8") as file:
                file.write(" " * _EXIT_BYTES)
            os.link(own, os.path.join(self.directory, layout.PROCESS_RECORD))
            os.unlink(own)
        except FileExistsError:
            os.unlink(own)
            os.unlink(self._reserved())
            return {"error": "this attempt was started before", "claimed": True, "errno": 0}
        except OSError as error:
            return {"error": f"{error.strerror}: {error.filename}", "errno": error.errno}
        return record

    def _reserved(self) -> str:
        return os.path.join(self.directory, f".exit-{os.getpid()}")

    def _watch(self, output: int, wakeup: int, log: Log) -> None:
        """Copy output, react to signals and enforce limits until the first process of the task has ended."""
        poll = select.poll()
        poll.register(output, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        printed_max = self.request["printed_bytes_max"]
        next_check = time.monotonic() + _WATCH_SECONDS
        while self.status is None:
            now = time.monotonic()
            until = next_check if self.deadline is None else min(next_check, self.deadline)
            for descriptor, event in poll.poll(max(0.0, until - now) * 1000):
                if descriptor == output and (event & select.POLLIN == 0 or not log.copy(output)):
                    poll.unregister(output)
                elif descriptor == wakeup:
                    self._react(os.read(wakeup, 512))
            self._reap()
            now = time.monotonic()
            if printed_max and log.bytes_seen > printed_max:
                self._kill("printed")
            if self.deadline is not None and now >= self.deadline:
                self._kill("terminated")
            if now >= next_check:
                self._enforce_limits()
                next_check = now + _WATCH_SECONDS

    def _react(self, numbers: bytes) -> None:
        if signal.SIGUSR2 in numbers:
            self._kill("terminated")
        elif signal.SIGUSR1 in numbers and self.deadline is None:
            self.reason = self.reason or "terminated"
            self.deadline = time.monotonic() + self.request["grace_seconds"]
            self._signal(signal.SIGTERM)

    def _kill(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.deadline = None
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # Before the task has called setsid there is no process group with its pid.
            if self.status is None:
                os.kill(self.pid, number)
        except PermissionError:
            # macOS reports this for a group whose members have all ended.
            return

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = status

    def _enforce_limits(self) -> None:
        """Kill a task that fills the disk or has too many processes. Called once a second."""
        free_min, processes_max = self.request["free_bytes_min"], self.request["processes_max"]
        if free_min:
            disk = os.statvfs(self.directory)
            # A task with few bytes on the disk is not the one that filled it.
            if disk.f_bavail * disk.f_frsize < free_min and self._held_bytes(free_min) >= free_min:
                self._kill("disk")
        if processes_max and len(_descendants(processes_max + 1)) > processes_max:
            self._kill("processes")

    def _held_bytes(self, enough: int) -> int:
        """Return the bytes on disk below the directories of the task; stop counting at `enough`."""
        total = 0
        for root in (*(os.path.join(self.directory, name) for name in _PRIVATE_FOLDERS), *self.request["data_paths"]):
            for parent, _, names in os.walk(root):
                for name in names:
                    try:
                        total += os.lstat(os.path.join(parent, name)).st_blocks * 512
                    except FileNotFoundError:
                        continue
                if total >= enough:
                    return total
        return total

    def _end_leftovers(self) -> None:
        """Kill the remaining processes of the task: its group, and orphans, whose parent is now this process."""
        self._signal(signal.SIGKILL)
        give_up = time.monotonic() + _REAP_SECONDS
        while time.monotonic() < give_up:
            for pid in _children(os.getpid()):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                time.sleep(0.005)

    def _write_exit(self, log: Log) -> None:
        assert self.status is not None
        code = os.waitstatus_to_exitcode(self.status)
        record: dict[str, Any] = {
            "code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "reason": self.reason,
            "oom": _oom_kills() > self.oom_kills,
            "printed_bytes": log.bytes_seen,
            "log_error": log.error,
            "ended_at": time.time(),
            "tail": log.last(2048),
        }
        while len(json.dumps(record)) > _EXIT_BYTES and record["tail"]:
            record["tail"] = record["tail"][len(record["tail"]) // 4 + 1 :]
        self._save_exit(record)

    def _save_exit(self, record: dict[str, Any]) -> None:
        with open(self._reserved(), "r+", encoding="utf-8") as file:
            file.write(json.dumps(record).ljust(_EXIT_BYTES))
        os.rename(self._reserved(), os.path.join(self.directory, layout.EXIT_RECORD))

    def _free_space(self) -> None:
        """Remove the private directories, and the raw data of a task that was killed because it filled the disk."""
        ended_well = self.status == 0 and not self.reason
        # The server still reads the output files of a raw container that ended well.
        for name in _PRIVATE_FOLDERS if ended_well else (*_PRIVATE_FOLDERS, layout.COPILOT):
            shutil.rmtree(os.path.join(self.directory, name), ignore_errors=True)
        self._unlink_temporary()
        if self.reason != "disk":
            return
        for root in self.request["data_paths"]:
            for parent, directories, names in os.walk(root):
                # The next attempt may read the checkpoints of this one.
                directories[:] = [name for name in directories if name != "_flytecheckpoints"]
                for name in names:
                    os.unlink(os.path.join(parent, name))


def _task(request: dict[str, Any], parent: int, go: int, failure: int, output: int) -> NoReturn:
    """Turn this forked process into the task: make its session, enter its directory, and run its command."""
    code = 127
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent or os.read(go, 1) != b"g":
            os._exit(code)
        os.close(go)
        for number in (*_STOPPING, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(nothing)
        os.close(output)
        _volunteer_for_oom()
        os.chdir(os.path.join(request["directory"], layout.WORK))
        if request["warm"]:
            os.close(failure)
            code = flytekit_command.run(request["argv"], request["env"], sys.path, request["image"])
        else:
            # The interpreter ignores these two signals; other programs expect the default of the system.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            os.execve(request["program"], request["argv"], request["env"])
    except OSError as error:
        _write_all(failure, json.dumps({"error": error.strerror, "exec": True, "errno": error.errno}).encode())
    finally:
        os._exit(code)


def _do_nothing(number: int, frame: object) -> None:
    """Handle a signal whose number is read from the wakeup descriptor, which needs a handler to be set."""


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _volunteer_for_oom() -> None:
    """Make the kernel kill the task rather than the server when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
            score.write("500")
    except OSError:
        # Not Linux, or a container without this file: the system chooses the process to kill by itself.
        return


def _oom_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory; 0 if it does not count them."""
    try:
        with open("/proc/vmstat", encoding="ascii") as counters:
            for line in counters:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except OSError:
        return 0
    return 0


def _children(pid: int) -> list[int]:
    """Return the direct children of a process; none if the system has no list of them."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        for thread in threads:
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as listed:
                found += [int(number) for number in listed.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found


def _descendants(count_max: int) -> list[int]:
    """Return the descendants of this process, and stop looking at `count_max`."""
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting and len(found) < count_max:
        below = _children(waiting.pop())
        found += below
        waiting += below
    return found


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
