"""The one process that a task belongs to: it claims the attempt, keeps the log, ends the task and says how it ended.

Signals it obeys: SIGUSR1 asks the task to end and kills it after the grace time, SIGUSR2 kills it now. It
ignores SIGTERM and its kind, so that a server that is stopped with all its processes still learns how its
tasks ended. Whatever a task leaves behind when its first process ends, daemons included, is killed.
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

from . import child, stamp
from .log import Log

_EXIT_BYTES = 8192
_WATCH_SECONDS = 1.0
_REAP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SPACE = ("work", "tmp", "secrets")
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def run(request: dict[str, Any], report: int) -> NoReturn:
    """Supervise one task in this forked process; never returns. `report` takes one JSON message, then closes."""
    code, supervisor = 1, None
    try:
        supervisor = Supervisor(request, report)
        supervisor.run()
        code = 0
    except BaseException as error:  # noqa: BLE001 - nobody above can handle it: the fork server's frames are not ours.
        traceback.print_exc()
        if supervisor is None or not supervisor.reported:
            _write_all(report, json.dumps({"error": f"{type(error).__name__}: {error}", "errno": 0}).encode())
    finally:
        os._exit(code)


class Supervisor:
    """request: directory, temporary (a short name for the folder tmp in it), program, argv, image (that the task
    names), env, warm, grace_seconds, data_paths (local raw data of this attempt), and
    the limits log_bytes_max, printed_bytes_max, free_bytes_min, processes_max, where 0 stands for none."""

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
        os.setsid()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        wakeup, wakeup_end = self._catch_signals()
        output, output_end = os.pipe()
        go, go_end = os.pipe()
        failure, failure_end = os.pipe()
        for name in _SPACE:
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
            # Of an attempt that was started before, the link belongs to its own supervisor.
            if not answer.get("claimed"):
                self._unlink_temporary()
            return
        log = Log(self.request["log"], self.request["log_bytes_max"])
        self._watch(output, wakeup, log)
        self._end_leftovers()
        log.drain(output)
        log.close()
        if self.status != 0:
            self._look()
        self._write_exit(log)
        self._free_space()

    def _link_temporary(self) -> None:
        """Make the short name of the temporary folder. errors: FileExistsError where something else has that name"""
        link, folder = self.request["temporary"], os.path.join(self.directory, "tmp")
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
        """Both ends of a pipe that becomes readable when a child ends or an order arrives; its bytes are signals."""
        wakeup, wakeup_end = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(wakeup_end, False)
        for ignored in _STOPPING:
            signal.signal(ignored, signal.SIG_IGN)
        for caught in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(caught, _noted)
        signal.set_wakeup_fd(wakeup_end, warn_on_full_buffer=False)
        return wakeup, wakeup_end

    def _start(self, go_end: int, failure: int) -> dict[str, Any]:
        """Claim the attempt and let the task run its command; the answer says where it runs or why it does not."""
        answer = self._claim()
        if "error" not in answer:
            # The task waits for this byte; without it, it ends before it has done anything.
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
        """Make this attempt ours, or say that it was started before: a link is made once, whoever races."""
        pid = os.getpid()
        record = {"pid": pid, "stamp": stamp.started(pid), "task_pid": self.pid, "started_at": time.time()}
        mine = os.path.join(self.directory, f".process-{pid}")
        try:
            with open(mine, "w", encoding="utf-8") as file:
                json.dump(record, file)
            # Room for the exit status is taken now, so that a full disk cannot hide how the task ended.
            with open(self._reserved(), "w", encoding="utf-8") as file:
                file.write(" " * _EXIT_BYTES)
            os.link(mine, os.path.join(self.directory, "process.json"))
            os.unlink(mine)
        except FileExistsError:
            os.unlink(mine)
            os.unlink(self._reserved())
            return {"error": "this attempt was started before", "claimed": True, "errno": 0}
        except OSError as error:
            return {"error": f"{error.strerror}: {error.filename}", "errno": error.errno}
        return record

    def _reserved(self) -> str:
        return os.path.join(self.directory, f".exit-{os.getpid()}")

    def _watch(self, output: int, wakeup: int, log: Log) -> None:
        """Copy output, obey orders and look after the limits until the task's first process has ended."""
        poll = select.poll()
        poll.register(output, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        printed_max = self.request["printed_bytes_max"]
        next_look = time.monotonic() + _WATCH_SECONDS
        while self.status is None:
            now = time.monotonic()
            until = next_look if self.deadline is None else min(next_look, self.deadline)
            for descriptor, event in poll.poll(max(0.0, until - now) * 1000):
                if descriptor == output and (event & select.POLLIN == 0 or not log.copy(output)):
                    poll.unregister(output)
                elif descriptor == wakeup:
                    self._obey(os.read(wakeup, 512))
            self._reap()
            now = time.monotonic()
            if printed_max and log.bytes_seen > printed_max:
                self._kill("printed")
            if self.deadline is not None and now >= self.deadline:
                self._kill("terminated")
            if now >= next_look:
                self._look()
                next_look = now + _WATCH_SECONDS

    def _obey(self, numbers: bytes) -> None:
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
            # A task that has not yet made its own session has no group of its own either.
            if self.status is None:
                os.kill(self.pid, number)
        except PermissionError:
            # macOS says so of a group whose members have all ended.
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

    def _look(self) -> None:
        """Once a second: a task that fills the disk or breeds processes ends before the machine does."""
        free_min, processes_max = self.request["free_bytes_min"], self.request["processes_max"]
        if free_min:
            disk = os.statvfs(self.directory)
            # A task that holds little is not the one that filled the disk.
            if disk.f_bavail * disk.f_frsize < free_min and self._held_bytes(free_min) >= free_min:
                self._kill("disk")
        if processes_max and len(_descendants(processes_max + 1)) > processes_max:
            self._kill("processes")

    def _held_bytes(self, enough: int) -> int:
        """Bytes on disk below the task's own directories and its raw data; stops counting at enough."""
        total = 0
        for root in (*(os.path.join(self.directory, name) for name in _SPACE), *self.request["data_paths"]):
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
        """Kill what still lives of the task: its group, and what left the group and became ours by its parent's end."""
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
        os.rename(self._reserved(), os.path.join(self.directory, "exit.json"))

    def _free_space(self) -> None:
        """Remove the private directories, and the raw data of a task that was ended because it filled the disk."""
        ended_well = self.status == 0 and not self.reason
        # Output files of a raw container are still to be read by the server when it ended well.
        for name in _SPACE if ended_well else (*_SPACE, "copilot"):
            shutil.rmtree(os.path.join(self.directory, name), ignore_errors=True)
        self._unlink_temporary()
        if self.reason != "disk":
            return
        for root in self.request["data_paths"]:
            for parent, directories, names in os.walk(root):
                # The next attempt goes on from the checkpoints of this one.
                directories[:] = [name for name in directories if name != "_flytecheckpoints"]
                for name in names:
                    os.unlink(os.path.join(parent, name))


def _task(request: dict[str, Any], parent: int, go: int, failure: int, output: int) -> NoReturn:
    """Become the task: own session, own directory, own environment; then flytekit's command or an exec."""
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
        os.chdir(os.path.join(request["directory"], "work"))
        if request["warm"]:
            os.close(failure)
            code = child.run(request["argv"], request["env"], sys.path, request["image"])
        else:
            # An interpreter ignores these two; other programs expect them to be what the system sets.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            os.execve(request["program"], request["argv"], request["env"])
    except OSError as error:
        _write_all(failure, json.dumps({"error": error.strerror, "exec": True, "errno": error.errno}).encode())
    finally:
        os._exit(code)


def _noted(number: int, frame: object) -> None:
    """The number is read from the wakeup descriptor; a handler must be there all the same."""


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _volunteer_for_oom() -> None:
    """When memory runs out the system shall end the task, not the server: raising one's score needs no rights."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
            score.write("500")
    except OSError:
        # Not a Linux, or a container that hides this: then the system chooses by itself.
        return


def _oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not tell."""
    try:
        with open("/proc/vmstat", encoding="ascii") as counters:
            for line in counters:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except OSError:
        return 0
    return 0


def _children(pid: int) -> list[int]:
    """Direct children of a process; none where the system has no such list."""
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
    """Processes below this one, at most about count_max."""
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
