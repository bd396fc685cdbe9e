"""The forked process that becomes a task: its session, its folder, its streams, and its command."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from app.system import system

from . import layout

if TYPE_CHECKING:
    from .python_tasks import PythonTasks

# Signals that the supervisor ignores or handles, and that a task gets as the system delivers them by default.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
HANDLED = (signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)


class Inherited(NamedTuple):
    """Descriptors and numbers that a new task gets from its supervisor.

    Attributes:
        supervisor: The pid of the supervisor.
        go: A pipe whose first byte lets the task run; if it ends without that byte, the task exits.
        failure: A pipe that gets the reason, as JSON, if the program cannot be executed.
        output: The pipe that receives standard output and standard error.
        foreign: Descriptors of the supervisor that the task must not hold.
        descriptors_max: The soft limit of open files that tasks have.
    """

    supervisor: int
    go: int
    failure: int
    output: int
    foreign: Iterable[int]
    descriptors_max: int


def become_task(request: dict[str, Any], inherited: Inherited, python: PythonTasks | None) -> NoReturn:
    """Turn this forked process into the task of a request (`ForkedTask`), and run its command."""
    code = 127
    try:
        _separate(inherited)
        if os.getppid() != inherited.supervisor or os.read(inherited.go, 1) != b"g":
            os._exit(code)
        os.close(inherited.go)
        _restore_defaults(inherited)
        _hold(request["held"])
        system.limit_cpus(request["cpus_max"])
        os.chdir(os.path.join(request["directory"], layout.WORK))
        if request["warm"]:
            os.close(inherited.failure)
            assert python is not None
            code = python.run(request)
        else:
            # The interpreter ignores these two signals; other programs expect the default of the system.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            os.execve(request["program"], request["argv"], request["env"])
    except OSError as error:
        reason = {"error": error.strerror, "exec": True, "errno": error.errno}
        _write_all(inherited.failure, json.dumps(reason).encode())
    finally:
        os._exit(code)


def become_worker(channel: socket.socket, inherited: Inherited, cpus_max: int, python: PythonTasks | None) -> NoReturn:
    """Turn this forked process into a worker (worker.py)."""
    try:
        _separate(inherited)
        if os.getppid() == inherited.supervisor:
            _restore_defaults(inherited)
            system.limit_cpus(cpus_max)
            assert python is not None
            python.serve(channel, _hold)
    except BaseException:  # noqa: BLE001 - nothing may return into the loop of the fork server.
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def _separate(inherited: Inherited) -> None:
    """Give this process a session of its own, without the descriptors of the supervisor."""
    signal.set_wakeup_fd(-1)
    for descriptor in inherited.foreign:
        os.close(descriptor)
    os.setsid()
    system.end_with_parent()
    # Orphans of a task stay below it until it ends. Then the supervisor becomes their parent, and kills them.
    system.adopt_orphans()


def _restore_defaults(inherited: Inherited) -> None:
    for number in (*STOPPING, *HANDLED):
        signal.signal(number, signal.SIG_DFL)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (inherited.descriptors_max, hard))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(inherited.output, 1)
    os.dup2(inherited.output, 2)
    os.close(nothing)
    os.close(inherited.output)
    system.volunteer_for_oom()


def _hold(path: str) -> None:
    """Lock a file together with others, "" for none. The lock ends with the last process that has its descriptor."""
    if path:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)
        os.set_inheritable(descriptor, True)
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to a blocking descriptor."""
    while data:
        data = data[os.write(descriptor, data) :]
