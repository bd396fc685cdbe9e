"""Watches the import of a user's module, and finds what keeps forked tasks from sharing its result.

Tasks may share an imported module only if every one of them would have got the same by importing it. So the import may
read files and environment variables, which are compared for each task. It may neither ask for anything that differs
between processes or moments, nor leave anything behind outside the memory of Python.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import stat
import sys
import tempfile
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
        (
            *("urandom", "times", "umask", "nice", "pipe", "pipe2", "dup", "dup2", "ttyname", "uname", "cpu_count"),
            *("write", "writev", "statvfs", "fstatvfs", "register_at_fork"),
        )
    ),
    # The log of each task has what the import prints.
    "builtins": frozenset(("print",)),
    "_random": frozenset(("random", "seed", "getrandbits", "getstate", "setstate")),
    "datetime": frozenset(("now", "utcnow", "today")),
    "_uuid": frozenset(("generate_time_safe", "UuidCreate")),
    "_signal": frozenset(("signal", "set_wakeup_fd", "setitimer", "alarm", "pthread_sigmask", "siginterrupt")),
    "_thread": frozenset(("start_new_thread", "start_joinable_thread", "get_native_id")),
    # The supervisor has other limits than a task.
    "resource": frozenset(("setrlimit", "getrlimit", "getrusage")),
    "_ssl": frozenset(("RAND_bytes",)),
    "_socket": frozenset(("socket", "socketpair")),
}
# Callers to which the result does not matter, as the modules of the innermost frames. Names of methods that mashumaro
# generates only have to differ within a process; flytekit names the loop of a process (imported_module.py), and checks
# schedules.
_HARMLESS_CALLERS = {
    "posix.urandom": ("uuid", "mashumaro."),
    "posix.getpid": ("flytekit.utils.asyn",),
    "time.time": ("croniter.croniter", "flytekit.core.schedule"),
}
# Streams that are files: to write to them prints, or changes the files.
_STREAMS = frozenset(("TextIOWrapper", "BufferedWriter", "BufferedRandom", "FileIO"))
# Functions that look at a file without opening it.
_LOOKS = ("stat", "lstat", "access", "readlink")
# Modules that the supervisor uses. A module of a user that replaces their functions must not run in its process.
_OF_SUPERVISOR = ("builtins", "json", "os", "posixpath", "select", "shutil", "signal", "socket", "struct", "time")
# The same by the beginnings of their names.
_FORBIDDEN_STARTS = {"posix": ("get", "set", "sched_")}
# Descriptors beyond these are not looked for. A new one gets the lowest free number.
_DESCRIPTORS_MAX = 256
# Code that calls the functions of posix itself: this module, and the import system, whose files are noted otherwise.
_LOOKERS = (__file__, "<frozen importlib")
_stat = os.stat
_watching: list[ImportRecord] = []
_auditing = False


class ImportRefused(BaseException):
    """Ends an import before it does something that a second import would do again, such as sending a message."""


class _WatchedArguments(list[str]):
    """sys.argv of an import, which notes that it is read."""

    def __init__(self, watch: ImportRecord, words: list[str]) -> None:
        super().__init__(words)
        self.watch = watch

    __hash__ = None


def _noted(name: str) -> Any:
    original = getattr(list, name)

    def method(self: Any, *given: Any) -> Any:
        self.watch.refuse("reads sys.argv")
        return original(self, *given)

    return method


for _name in (
    *("__getitem__", "__iter__", "__len__", "__contains__", "__eq__", "__ne__", "__add__", "__repr__", "__reversed__"),
    *("copy", "pop", "index", "count"),
):
    setattr(_WatchedArguments, _name, _noted(_name))


class ImportRecord:
    """The record of one import.

    Attributes:
        refused: The first reason why tasks must not share its result; "" for none.
        variables: The environment variables that it has read, with their values; None for one that was not set.
        files: The files and folders that it has read, with their `signature`.
        looked: Those that it has looked at, with their `presence`.
    """

    def __init__(self) -> None:
        self.refused = ""
        self.variables: dict[str, str | None] = {}
        self.files: dict[str, tuple[int, ...]] = {}
        self.looked: dict[str, tuple[int, ...]] = {}

    def refuse(self, reason: str) -> None:
        """Note a reason why tasks must not share the result."""
        self.refused = self.refused or reason

    def note_file(self, path: object) -> None:
        """Remember a file or folder as it is now, before it is read."""
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or not os.path.isabs(path):
            self.refuse(f"opens {path!r}")
        elif os.path.normpath(path).startswith(system.live_files):
            # The `signature` of these files stays the same when their content changes.
            self.refuse(f"reads {path!r}")
        else:
            self.files.setdefault(path, signature(path))

    def note_look(self, path: Any) -> None:
        """Remember a file or folder that is looked at. Descriptors belong to files that were opened before."""
        if not isinstance(path, int):
            text = os.fsdecode(path)
            # inspect looks for the file of code that has none.
            if text.startswith("<") and text.endswith(">"):
                return
            if os.path.isabs(text):
                self.looked.setdefault(text, presence(text))
            else:
                self.refuse(f"looks at {text!r}")

    def audit(self, event: str, given: tuple[Any, ...]) -> None:
        """Judge one audit event of the interpreter. Raises ImportRefused for one that changes something outside."""
        if event not in _HARMLESS:
            self._end(f"does {event}")
        elif event == "open":
            path, mode, flags = given
            # Bytecode is read from these files, and is checked against the source.
            if not str(path).rpartition(os.sep)[0].endswith("__pycache__"):
                writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(str(mode or "")) & set("wax+")
                self._end(f"writes {path!r}") if writes else self.note_file(path)
        elif event in ("os.listdir", "os.scandir"):
            self.note_file(given[0])

    def _end(self, reason: str) -> None:
        self.refuse(reason)
        raise ImportRefused(reason)

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
            if not _is_harmless(f"{module}.{name}", frame):
                self.refuse(f"calls {module}.{name}")
        elif name in ("write", "writelines") and type(owner).__name__ in _STREAMS:
            self.refuse("writes to a stream")
        elif module == "posix" and name in _LOOKS and not frame.f_code.co_filename.startswith(_LOOKERS):
            self.refuse(f"calls {module}.{name}")


def _is_harmless(function: str, frame: types.FrameType) -> bool:
    """Return whether a function is called from one of `_HARMLESS_CALLERS`."""
    callers, inner = _HARMLESS_CALLERS.get(function, ()), frame
    for caller in callers:
        if inner is None or not str(inner.f_globals.get("__name__")).startswith(caller):
            return False
        inner = inner.f_back  # type: ignore[assignment]
    return bool(callers)


def signature(path: str) -> tuple[int, ...]:
    """Return what changes when a file or a folder's list of names changes; () for one that is not there."""
    try:
        found = _stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode


def presence(path: str) -> tuple[int, ...]:
    """Return the `signature` of a file, and what changes when a folder is replaced, whatever is put into it."""
    found = signature(path)
    return (*found[:2], found[4]) if found and stat.S_ISDIR(found[4]) else found


@contextmanager
def watched(words: list[str]) -> Iterator[ImportRecord]:
    """Watch the block, which imports a module. `words` is the sys.argv that it would see."""
    watch = ImportRecord()
    before = _state()
    random_before = random.getstate()
    _watch_audits()
    sys.argv = _WatchedArguments(watch, words)
    with _variables_noted(watch), _looks_noted(watch), _temporary_noted(watch):
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
        "functions of the standard library": _functions(),
    }


def _functions() -> dict[tuple[str, str], int]:
    return {
        (name, key): id(value)
        for name in _OF_SUPERVISOR
        for key, value in vars(sys.modules[name]).items()
        if callable(value) and not key.startswith("__")
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
def _variables_noted(watch: ImportRecord) -> Iterator[None]:
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


@contextmanager
def _looks_noted(watch: ImportRecord) -> Iterator[None]:
    """Note which files the block looks at without opening them, such as by os.path.exists."""
    originals = {name: getattr(os, name) for name in _LOOKS}

    def noting(original: Any) -> Any:
        def look(path: Any, *given: Any, **more: Any) -> Any:
            if _watching:
                watch.refuse("looks below an open folder") if more.get("dir_fd") is not None else watch.note_look(path)
            return original(path, *given, **more)

        return functools.wraps(original)(look)

    for name, original in originals.items():
        setattr(os, name, noting(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


@contextmanager
def _temporary_noted(watch: ImportRecord) -> Iterator[None]:
    """Notice where the block asks for the temporary folder, which each task has for itself."""
    module: Any = tempfile
    original = module._gettempdir

    def ask() -> Any:
        watch.refuse("asks for the temporary folder")
        return original()

    module._gettempdir = ask
    try:
        yield
    finally:
        module._gettempdir = original
