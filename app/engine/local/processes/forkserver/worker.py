"""A worker: one process that runs several tasks of one execution, one after the other, where a setting allows it.

Its tasks share the memory of the interpreter. The supervisor hands it one task at a time: a message with the output of
the task as a descriptor. The worker answers with the exit code and whether it can run another task.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from app.system import system

from . import flytekit_command, layout, preload
from .imported_module import ImportedModule, relocate_modules
from .workers import ANSWER, LENGTH

_REAP_SECONDS_MAX, _REAP_POLL_SECONDS = 5.0, 0.005
_CHILDREN_MAX = 10_000
# Signals whose handlers a task may have set.
_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD),
)
# Threads of flytekit that run its coroutines. They wait for the next task.
_KEPT_THREADS = ("loop-runner", "asyncio_")


def serve(
    channel: socket.socket, base_path: list[str], imported: ImportedModule | None, hold: Callable[[str], None]
) -> NoReturn:
    """Run tasks until the supervisor closes the channel.

    Args:
        channel: The connection to the supervisor.
        base_path: The search path of the interpreter.
        imported: The imported module that the tasks use; None if they import it.
        hold: Locks a file, so that the environment is not removed while this process uses it.
    """
    mask = os.umask(0o022)
    work = ""
    while (received := _receive(channel)) is not None:
        request, output = received
        os.umask(mask)
        _redirect(output)
        before, work = work, os.path.join(request["directory"], layout.WORK)
        os.chdir(work)
        if before and os.path.basename(request["argv"][0]) == preload.FAST:
            # Only a fast registration has modules in the folder of the task.
            relocate_modules(os.path.realpath(before), os.path.realpath(work))
        if not before:
            hold(request["held"])
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        code = flytekit_command.run(request["argv"], request["env"], base_path, request["image"], imported, ends=False)
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            # An alarm that a task has left would end the next one.
            signal.setitimer(timer, 0.0)
        again = code == 0 and not _foreign_threads()
        if not again:
            flytekit_command.end()
        _end_children()
        _redirect(os.open(os.devnull, os.O_WRONLY))
        channel.sendall(ANSWER.pack(code & 0xFF, again))
        if not again:
            # The supervisor may see the end before it reads the answer.
            os._exit(code & 0xFF)
    atexit._run_exitfuncs()
    os._exit(0)


def _receive(channel: socket.socket) -> tuple[dict[str, Any], int] | None:
    try:
        head, descriptors, _, _ = socket.recv_fds(channel, LENGTH.size, 1)
        if len(head) < LENGTH.size:
            return None
        body = channel.recv(LENGTH.unpack(head)[0], socket.MSG_WAITALL)
        request: dict[str, Any] = json.loads(body)
    except (OSError, ValueError):
        return None
    return request, descriptors[0]


def _redirect(output: int) -> None:
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)


def _foreign_threads() -> list[str]:
    others = (thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
    return [name for name in others if not any(kept in name for kept in _KEPT_THREADS)]


def _end_children() -> None:
    """Kill the processes that the task has left; this process is the parent of their orphans.

    A process that has become another user, such as one of sudo, cannot be killed, and is not waited for any longer.
    """
    deadline = time.monotonic() + _REAP_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            # Most tasks have left none, which this call finds out without reading /proc.
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if ended:
            continue
        for pid in system.family(os.getpid(), _CHILDREN_MAX)[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except (PermissionError, ProcessLookupError):
                continue
        time.sleep(_REAP_POLL_SECONDS)
