"""The supervisor of tasks: the event loop of a fork server, which forks tasks and stays until they have ended.

It writes their logs, enforces their limits, kills the processes that they leave behind, and records their ends. When
the server has ended, it starts no more tasks, but stays until its last task has ended. A later server adopts its tasks.

SIGUSR1 and SIGUSR2 make it look for requests to stop a task (layout.STOP_REQUEST). It ignores SIGTERM, SIGINT, SIGHUP
and SIGQUIT, so that it still records the ends of tasks if all processes get them.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.system import system

from .memory import prepare_forks
from .server_connection import ServerConnection
from .task import ForkedTask
from .task_process import HANDLED, STOPPING, Inherited, become_task, become_worker
from .workers import Worker, Workers, answer_of, send

if TYPE_CHECKING:
    from .python_tasks import PythonTasks

_READ_BYTES = 65536
_WATCH_SECONDS = 1.0
# Where the system does not report the ends of processes that tasks have left behind.
_LOOK_SECONDS = 0.02
_REAP_SECONDS = 10.0
_DESCRIPTORS_MAX = 65536


class TaskSupervisor:
    """Starts and supervises tasks for one server.

    Each request starts one task, and is answered by the record of the task or by `error`. When the task has ended, the
    supervisor sends `ended`, the directory of the task, and `exit`, the record of its end or null. When the server
    closes its side, the supervisor sends `running`, the number of tasks that it still has.

    Args:
        connection: The connection to the server.
        python: Runs Python tasks in forked processes; None for a plain fork server.
    """

    def __init__(self, connection: socket.socket, python: PythonTasks | None = None) -> None:
        self._python = python
        # Processes with the module of a version (imported_module.py). They end by themselves.
        self._module_servers: set[int] = set()
        self._poll = select.poll()
        self._server = ServerConnection(connection, self._poll)
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._tasks: dict[int, ForkedTask] = {}
        # Tasks whose program is not executed yet.
        self._starting: set[int] = set()
        self._workers = Workers()
        # Processes that remove folders.
        self._removers: set[int] = set()
        # For each task that has ended: when to stop waiting for the end of its remaining processes.
        self._give_up: dict[int, float] = {}
        # For each process that was left behind: the tasks whose ends wait for its end.
        self._left_by: dict[int, frozenset[int]] = {}
        self._next_check = 0.0
        self._next_memory_check = 0.0
        self._itself: dict[str, Any] = {"pid": os.getpid(), "stamp": system.stamp(os.getpid())}
        self._descriptors_max, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        raised = _DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS_MAX)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(self._descriptors_max, raised), hard))

    def run(self) -> None:
        """Serve until the server has closed the connection and the last task has ended."""
        system.adopt_orphans()
        self._catch_signals()
        server = self._server.fileno()
        while self._server.is_open or self._tasks or self._removers:
            for descriptor, event in self._poll.poll(self._timeout()):
                handler = self._handlers.get(descriptor)
                if handler is not None:
                    handler(event)
                elif descriptor == server and self._server.is_open:
                    self._serve(event)
            self._reap()
            self._enforce()
            self._end_leftovers()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message to the server, if it still runs."""
        self._server.send(message)

    def _catch_signals(self) -> None:
        """Make SIGCHLD, SIGUSR1 and SIGUSR2 wake the loop, and ignore the signals that stop processes."""
        wakeup, wakeup_end = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(wakeup_end, False)
        for ignored in STOPPING:
            signal.signal(ignored, signal.SIG_IGN)
        for caught in HANDLED:
            signal.signal(caught, _do_nothing)
        signal.set_wakeup_fd(wakeup_end, warn_on_full_buffer=False)
        self._wakeup_end = wakeup_end

        def woken(event: int) -> None:
            numbers = os.read(wakeup, 4096)
            if signal.SIGUSR1 in numbers or signal.SIGUSR2 in numbers:
                for task in self._tasks.values():
                    task.stop_as_requested()

        self._register(wakeup, woken)

    def _register(self, descriptor: int, handler: Callable[[int], None]) -> None:
        self._handlers[descriptor] = handler
        self._poll.register(descriptor, select.POLLIN)

    def _unregister(self, descriptor: int) -> None:
        if self._handlers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def _timeout(self) -> float | None:
        """Return the milliseconds until the next limit has to be checked; None without a task."""
        idle = self._workers.next_end
        if not self._tasks:
            return None if idle is None else max(0.0, idle - time.monotonic()) * 1000
        times = [self._next_check, *self._give_up.values(), *([] if idle is None else [idle])]
        if self._give_up and not system.reports_leftovers:
            times.append(time.monotonic() + _LOOK_SECONDS)
        if any(task.limits_memory for task in self._tasks.values()):
            times.append(self._next_memory_check)
        times += [task.deadline for task in self._tasks.values() if task.deadline is not None]
        return max(0.0, min(times) - time.monotonic()) * 1000

    def _serve(self, event: int) -> None:
        """Send the server what it has not read, and do as it requests."""
        self._server.flush()
        requests = self._server.receive() if event & ~select.POLLOUT and self._server.is_open else []
        if requests is None:
            self.send({"running": len(self._tasks)})
            self._server.finish()
            return
        for request in requests:
            if "module" in request:
                self._fork_module_server(request)
            else:
                self._start(request)

    def _fork_module_server(self, request: dict[str, Any]) -> None:
        """Fork a process that imports the module of a version, with the received connection to the server."""
        connection = socket.socket(fileno=self._server.descriptors.pop(0))
        try:
            pid = os.fork()
        except OSError as error:
            connection.close()
            self.send({"error": f"the system refused to start a process: {error.strerror}"})
            return
        if pid:
            connection.close()
            self._module_servers.add(pid)
            self.send({"pid": pid, "stamp": system.stamp(pid)})
            return
        try:
            signal.set_wakeup_fd(-1)
            for descriptor in self._descriptors_of_tasks():
                os.close(descriptor)
            os.setsid()
            # This process runs code of a user, as tasks do.
            system.volunteer_for_oom()
            assert self._python is not None
            serve_module(connection, request, self._python)
        except BaseException:  # noqa: BLE001 - nothing may return into the loop of the fork server.
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)

    def _descriptors_of_tasks(self) -> list[int]:
        """Return the descriptors of this process that a forked process must not hold."""
        server = [self._server.fileno()] if self._server.is_open else []
        return [*server, *self._handlers, self._wakeup_end, *(other.log.file for other in self._tasks.values())]

    def _start(self, request: dict[str, Any]) -> None:
        """Fork a task, claim its attempt, and let it run. The answer follows when its program is executed."""
        if self._python is not None and not self._python.is_current():
            self.send({"stale": True})
            return
        try:
            task = ForkedTask(request)
        except OSError as error:
            self.send({"error": f"{error.strerror}: {error.filename}", "errno": error.errno})
            return
        try:
            task.link_temporary()
            if request["worker"]:
                self._hand_to_worker(task)
            else:
                self._fork(task)
        except OSError as error:
            task.log.close()
            self.send({"error": f"{error.strerror}: {error.filename}", "errno": error.errno})

    def _fork(self, task: ForkedTask) -> None:
        pipes: list[int] = []
        try:
            for _ in range(3):
                pipes += os.pipe()
            output, output_end, go, go_end, failure, failure_end = pipes
            task.pid = os.fork()
        except OSError as error:
            for descriptor in pipes:
                os.close(descriptor)
            task.unlink_temporary()
            task.log.close()
            self.send({"error": f"the system refused to start a process: {error.strerror}", "errno": error.errno})
            return
        if task.pid == 0:
            foreign = [*self._descriptors_of_tasks(), task.log.file, output, go_end, failure]
            become_task(
                task.request,
                Inherited(self._itself["pid"], go, failure_end, output_end, foreign, self._descriptors_max),
                self._python,
            )
        for descriptor in (output_end, go, failure_end):
            os.close(descriptor)
        answer = task.claim(self._itself)
        if "error" in answer:
            # The pipe is closed without the byte, so the task exits.
            for descriptor in (go_end, output, failure):
                os.close(descriptor)
            task.log.close()
            os.waitpid(task.pid, 0)
            if not answer.get("claimed"):
                # If the attempt was started before, the process of that start uses the link.
                task.unlink_temporary()
            self.send(answer)
            return
        os.write(go_end, b"g")
        os.close(go_end)
        self._watch(task, output)
        self._await_execution(task, answer, failure)

    def _hand_to_worker(self, task: ForkedTask) -> None:
        """Claim the attempt of a task, and let a worker run it; fork a worker where none waits."""
        output, output_end = os.pipe()
        worker = None
        try:
            while (waiting := self._workers.take(task.request["worker"])) is not None:
                try:
                    answer = self._claim_for_worker(waiting, task, output_end)
                    worker = waiting
                    break
                except OSError:  # It has ended while it waited, and the task has not started.
                    self._end_worker(waiting)
            if worker is None:
                worker = self._fork_worker(task.request)
                answer = self._claim_for_worker(worker, task, output_end)
        except OSError as error:
            answer = {"error": f"no worker can run the task: {error.strerror or error}", "errno": error.errno}
        finally:
            os.close(output_end)
        if worker is not None and "error" in answer:
            self._end_worker(worker)
        if "error" in answer:
            os.close(output)
            task.log.close()
            if not answer.get("claimed"):
                task.unlink_temporary()
        else:
            assert worker is not None
            worker.started += 1
            self._watch(task, output)
        self.send(answer)

    def _claim_for_worker(self, worker: Worker, task: ForkedTask, output: int) -> dict[str, Any]:
        """Return the record of a task, or `error`. Raises OSError if the worker cannot receive the task."""
        task.pid = worker.pid
        answer = task.claim(self._itself)
        try:
            if "error" not in answer:
                send(worker.channel, task.request, output)
        except OSError:
            # Nothing runs it. The server would wait for an attempt with a record.
            task.withdraw()
            raise
        return answer

    def _fork_worker(self, request: dict[str, Any]) -> Worker:
        channel, other_end = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            channel.close()
            nothing = os.open(os.devnull, os.O_WRONLY)
            foreign = self._descriptors_of_tasks()
            inherited = Inherited(self._itself["pid"], -1, -1, nothing, foreign, self._descriptors_max)
            become_worker(other_end, inherited, request["cpus_max"], self._python)
        other_end.close()
        worker = Worker(pid, request["worker"], channel)
        self._workers.add(worker)
        self._register(channel.fileno(), lambda event: self._read_answer(worker))
        return worker

    def _read_answer(self, worker: Worker) -> None:
        """Record the end of the task of a worker, and let the worker wait for the next one."""
        answer, task = answer_of(worker.channel), self._tasks.get(worker.pid)
        if answer is None or task is None:
            self._end_worker(worker)
            return
        code, again = answer
        del self._tasks[worker.pid]
        task.status = code << 8
        self._finish(task)
        # A signal that stops the task may reach the worker after its answer.
        is_usable = again and not task.reason and self._server.is_open
        if is_usable and worker.started < task.request["worker_tasks_max"]:
            self._workers.wait(worker, task.request["worker_idle_seconds"])
        else:
            self._end_worker(worker)

    def _end_worker(self, worker: Worker) -> None:
        """Let a worker end, if it does not end already."""
        if worker.channel.fileno() >= 0:
            self._unregister(worker.channel.fileno())
            self._workers.end(worker)

    def _await_execution(self, task: ForkedTask, answer: dict[str, Any], failure: int) -> None:
        """Answer the server when the pipe `failure` ends, which is when the program is executed or is refused."""
        self._starting.add(task.pid)
        reported = bytearray()

        def read(event: int) -> None:
            data = os.read(failure, _READ_BYTES)
            reported.extend(data)
            if data:
                return
            self._unregister(failure)
            os.close(failure)
            self._starting.discard(task.pid)
            if reported:
                refusal = json.loads(reported)
                task.exec_error = refusal["error"]
                self.send(refusal)
            else:
                self.send(answer)

        self._register(failure, read)

    def _watch(self, task: ForkedTask, output: int) -> None:
        if not self._tasks:
            self._next_check = time.monotonic() + _WATCH_SECONDS
            self._next_memory_check = time.monotonic() + system.memory_seconds
        self._tasks[task.pid] = task
        task.output = output
        # A task can read its own output by /proc/self/fd/1: the pipe may be empty where the system reported data.
        os.set_blocking(output, False)

        def copy(event: int) -> None:
            try:
                more = event & select.POLLIN != 0 and task.log.copy(output)
            except BlockingIOError:
                return
            if not more:
                self._unregister(output)

        self._register(output, copy)

    def _reap(self) -> None:
        """Collect the statuses of children, and kill the process groups of tasks that have ended."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._removers.discard(pid)
            self._module_servers.discard(pid)
            worker = self._workers.all.pop(pid, None)
            if worker is not None:
                self._end_worker(worker)
            task = self._tasks.get(pid)
            if task is not None:
                task.status, task.usage = status, usage
                task.signal(signal.SIGKILL)
                self._give_up[pid] = time.monotonic() + _REAP_SECONDS

    def _enforce(self) -> None:
        now = time.monotonic()
        for worker in self._workers.overdue(now):
            self._end_worker(worker)
        check = now >= self._next_check
        check_memory = now >= self._next_memory_check
        for task in self._tasks.values():
            if task.status is None:
                task.enforce_time_and_output(now)
                if check_memory and task.limits_memory:
                    task.enforce_memory()
                if check:
                    task.enforce_limits()
        if check_memory:
            self._next_memory_check = now + system.memory_seconds
        if check:
            self._next_check = now + _WATCH_SECONDS

    def _end_leftovers(self) -> None:
        """Kill what tasks that have ended left behind, and record the end of each when all of it has ended.

        A process of an unknown task delays the ends of all tasks that have ended when it is first seen, and no later
        ones.
        """
        # A task whose program is not executed yet is reported first; its pipe wakes the loop.
        if self._starting.issuperset(self._give_up):
            return
        ended = {pid: self._tasks[pid].request["temporary"] for pid in self._give_up}
        known = {*self._tasks, *self._removers, *self._module_servers, *self._workers.all}
        found = system.left_behind(ended, known)
        self._left_by = {
            pid: self._left_by.get(pid) or frozenset((task,) if task else ended) for pid, task in found.items()
        }
        for pid in found:
            # A process that has become another user, such as one of sudo, cannot be killed.
            with suppress(PermissionError, ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        waiting = frozenset[int]().union(*self._left_by.values())
        now = time.monotonic()
        for pid, give_up in list(self._give_up.items()):
            if pid not in self._starting and (pid not in waiting or now >= give_up):
                del self._give_up[pid]
                self._finish(self._tasks.pop(pid))

    def _finish(self, task: ForkedTask) -> None:
        self._unregister(task.output)
        task.log.drain(task.output)
        os.close(task.output)
        try:
            if task.finish():
                self._remove_elsewhere(task)
        except OSError:
            # Without a record of its end the task counts as lost, and the server runs it again.
            sys.excepthook(*sys.exc_info())
        self.send({"ended": task.directory, "exit": task.good_end})

    def _remove_elsewhere(self, task: ForkedTask) -> None:
        """Remove many files in a forked process, so that other tasks do not wait."""
        pid = os.fork()
        if pid:
            self._removers.add(pid)
            return
        try:
            task.remove_folders()
        except BaseException:  # noqa: BLE001 - nothing above it reports it.
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(0)


def serve_module(connection: socket.socket, request: dict[str, Any], python: PythonTasks) -> None:
    """Import the module of a request in this process, then start tasks for the server."""
    imported = python.import_module(request)
    if not imported.refused:
        prepare_forks()
    supervisor = TaskSupervisor(connection, python)
    supervisor.send(imported.hello())
    if not imported.refused:
        supervisor.run()


def _do_nothing(number: int, frame: object) -> None:
    """Handle a signal whose number is read from the wakeup descriptor, which needs a handler to be set."""
