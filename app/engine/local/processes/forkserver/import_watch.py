"""Watches the import of a user's module, and finds what keeps forked tasks from sharing its result.

Tasks may share an imported module only if every one of them would have got the same by importing it. So the import may
read files and environment variables, which are compared for each task. It may neither ask for anything that differs
between processes or moments, nor leave anything behind outside the memory of Python.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.system import system

# Audit events of an import that only reads. Any other event ends the sharing.
_HARMLESS = frozenset(
    (
        *("import", "exec", "compile", "open", "marshal.load", "marshal.loads", "os.listdir", "os.scandir"),
        *("code.__new__", "function.__new__", "object.__getattr__", "object.__setattr__", "object.__delattr__"),
        *("sys._getframe", "sys._getframemodulename", "builtins.id", "array.__new__"),
    )
)
# Functions in C whose result differs between processes or moments, or which change the process, by their module.
_FORBIDDEN: dict[str, frozenset[str]] = {
    "time": frozenset(
        (
            *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time"),
            *("process_time_ns", "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns", "localtime"),
            *("gmtime", "ctime", "asctime", "strftime", "sleep", "tzset"),
        )
    ),
    "posix": frozenset(
        ("urandom", "times", "umask", "nice", "pipe", "pipe2", "dup", "dup2", "ttyname", "uname", "cpu_count")
    ),
    "_random": frozenset(("random", "seed", "getrandbits", "getstate", "setstate")),
    "datetime": frozenset(("now", "utcnow", "today")),
    "_uuid": frozenset(("generate_time_safe", "UuidCreate")),
    "_signal": frozenset(("signal", "set_wakeup_fd", "setitimer", "alarm", "pthread_sigmask", "siginterrupt")),
    "_thread": frozenset(("start_new_thread", "start_joinable_thread", "get_native_id")),
    "resource": frozenset(("setrlimit", "getrusage")),
    "_socket": frozenset(("socket", "socketpair")),
}
# The same by the beginnings of their names.
_FORBIDDEN_STARTS = {"posix": ("get", "set", "sched_")}
# Descriptors beyond these are not looked for. A new one gets the lowest free number.
_DESCRIPTORS_MAX = 256
_READS_ARGUMENTS = "reads sys.argv"
_watching: list[Watch] = []
_auditing = False


class _WatchedArguments(list[str]):
    """sys.argv of an import, which notes that it is read."""

    def __init__(self, watch: Watch, words: list[str]) -> None:
        super().__init__(words)
        self._watch = watch

    def __getitem__(self, index: Any) -> Any:
        self._watch.refuse(_READS_ARGUMENTS)
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[str]:
        self._watch.refuse(_READS_ARGUMENTS)
        return super().__iter__()

    def __len__(self) -> int:
        self._watch.refuse(_READS_ARGUMENTS)
        return super().__len__()

    def __contains__(self, word: object) -> bool:
        self._watch.refuse(_READS_ARGUMENTS)
        return super().__contains__(word)

    def __eq__(self, other: object) -> bool:
        self._watch.refuse(_READS_ARGUMENTS)
        return super().__eq__(other)

    def copy(self) -> list[str]:
        self._watch.refuse(_READS_ARGUMENTS)
        return super().copy()

    __hash__ = None


class Watch:
    """The record of one import.

    Attributes:
        refused: The first reason why tasks must not share its result; "" for none.
        variables: The environment variables that it has read, with their values; None for one that was not set.
        files: The files and folders that it has read, with their `signature`.
    """

    def __init__(self) -> None:
        self.refused = ""
        self.variables: dict[str, str | None] = {}
        self.files: dict[str, tuple[int, ...]] = {}

    def refuse(self, reason: str) -> None:
        """Note a reason why tasks must not share the result."""
        self.refused = self.refused or reason

    def note_file(self, path: object) -> None:
        """Remember a file or folder as it is now, before it is read."""
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or not os.path.isabs(path):
            self.refuse(f"opens {path!r}")
        else:
            self.files.setdefault(path, signature(path))

    def audit(self, event: str, given: tuple[Any, ...]) -> None:
        """Judge one audit event of the interpreter."""
        if event not in _HARMLESS:
            self.refuse(f"does {event}")
        elif event == "open":
            path, mode, flags = given
            # Bytecode is read from these files, and is checked against the source.
            if not str(path).rpartition(os.sep)[0].endswith("__pycache__"):
                writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(str(mode or "")) & set("wax+")
                self.refuse(f"writes {path!r}") if writes else self.note_file(path)
        elif event in ("os.listdir", "os.scandir"):
            self.note_file(given[0])

    def profile(self, frame: types.FrameType, event: str, given: Any) -> None:
        """Judge one call of a function that is written in C."""
        if event != "c_call":
            return
        name = given.__name__
        owner = getattr(given, "__self__", None)
        if isinstance(owner, types.ModuleType):
            module = owner.__name__
        else:
            kind = owner if isinstance(owner, type) else type(owner)
            module = next((one.__module__ for one in kind.__mro__ if one.__module__ in _FORBIDDEN), "")
        if name in _FORBIDDEN.get(module, ()) or name.startswith(_FORBIDDEN_STARTS.get(module, "\0")):
            self.refuse(f"calls {module}.{name}")


def signature(path: str) -> tuple[int, ...]:
    """Return what changes when a file or a folder's list of names changes; () for one that is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode


@contextmanager
def watched(words: list[str]) -> Iterator[Watch]:
    """Watch the block, which imports a module. `words` is the sys.argv that it would see."""
    watch = Watch()
    before = _state()
    random_before = random.getstate()
    _watch_audits()
    sys.argv = _WatchedArguments(watch, words)
    with _variables_noted(watch):
        # Bytecode in files would be a change that somebody sees.
        kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        # A module that sets another profile function would end the watch: it must raise an audit event, these must not.
        sys.setprofile(watch.profile)
        _watching.append(watch)
        try:
            yield watch
        finally:
            _watching.clear()
            sys.setprofile(None)
            sys.dont_write_bytecode = kept
    sys.argv = list(words)
    if random.getstate() != random_before:
        watch.refuse("uses the generator of random numbers")
    after = _state()
    for name, value in before.items():
        if after[name] != value:
            watch.refuse(f"changes {name}")
    if threading.active_count() != 1:
        watch.refuse("starts threads")


def _state() -> dict[str, object]:
    """Return what tasks get anew at their start, or cannot share."""
    mask = os.umask(0o077)
    os.umask(mask)
    return {
        "the environment": dict(os.environ),
        "sys.path": list(sys.path),
        "the working directory": os.getcwd(),
        "signal handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "open files": _descriptors(),
        "the number of threads": system.native_threads(),
        "the file mode mask": mask,
        "standard streams": (sys.stdin, sys.stdout, sys.stderr),
    }


def _descriptors() -> dict[int, tuple[int, int]]:
    found = {}
    for descriptor in range(_DESCRIPTORS_MAX):
        try:
            status = os.fstat(descriptor)
        except OSError:
            continue
        found[descriptor] = status.st_dev, status.st_ino
    return found


def _watch_audits() -> None:
    # A hook cannot be removed, so that there is one in each process at most.
    global _auditing
    if _auditing:
        return
    _auditing = True

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if _watching:
            _watching[0].audit(event, given)

    sys.addaudithook(hook)


@contextmanager
def _variables_noted(watch: Watch) -> Iterator[None]:
    """Note which environment variables the block reads, and their values."""
    kind: Any = type(os.environ)
    getitem, iterate, length = kind.__getitem__, kind.__iter__, kind.__len__

    def reading(self: Any, name: Any) -> Any:
        text = os.fsdecode(name) if isinstance(name, bytes) else name
        if not _watching:
            return getitem(self, name)
        try:
            value = getitem(self, name)
        except KeyError:
            watch.variables.setdefault(text, None)
            raise
        watch.variables.setdefault(text, os.fsdecode(value))
        return value

    def all_of(self: Any) -> Any:
        if _watching:
            watch.refuse("reads all environment variables")
        return iterate(self)

    def count(self: Any) -> Any:
        if _watching:
            watch.refuse("reads all environment variables")
        return length(self)

    kind.__getitem__, kind.__iter__, kind.__len__ = reading, all_of, count
    try:
        yield
    finally:
        kind.__getitem__, kind.__iter__, kind.__len__ = getitem, iterate, length
