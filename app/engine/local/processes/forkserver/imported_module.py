"""A module server: a process with the module of a task imported, which forks the tasks of one registered version.

A fork server forks it. It is a supervisor itself (supervisor.py), with a connection of its own to the server. Tasks get
from it what they would have got by importing the module: import_watch.py decides whether they can.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tarfile
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from app.system import system

from . import flytekit_command, import_watch, preload
from .image_spec import recognize

# Code of a version beyond this size is unpacked by each task, so that it is not on the disk twice.
_CODE_BYTES_MAX = 64 * 1024 * 1024
# Names by which code finds its own files. The files of a task lie in the folder of the task.
_OWN_PATHS = frozenset(("__file__", "__path__", "__spec__", "__loader__", "__cached__"))
# The program of this process.
_MAIN = ("__main__", "__mp_main__")
# How deep, and among how many values, paths are looked for that a module holds.
_DEPTH = 4
_VALUES_MAX = 100_000


class ImportedModule:
    """An imported module. The constructor imports it in this process.

    Args:
        request: module: its name. argv: the command of a task. env: the variables that tasks of the version share.
            image: the image of the tasks. distribution: the archive with their code; "" for none.
            directory: a private folder.

    Attributes:
        refused: Why tasks cannot be forked from this process; "" if they can.
        may_pass: Whether another import may end otherwise.
        variables: The environment variables that the import has read, with their values.
        base_path: The search path of the interpreter.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self._directory: str = request["directory"]
        self.distribution: str = request["distribution"]
        self._code = os.path.join(os.path.realpath(self._directory), "code")
        self._files: dict[str, tuple[int, ...]] = {}
        self._looked: dict[str, tuple[int, ...]] = {}
        self.base_path = list(sys.path)
        self.variables: dict[str, str | None] = {}
        self.may_pass = False
        try:
            self.refused = self._prepare(request)
        except BaseException as error:  # noqa: BLE001 - the code of a user may raise anything; a task reports it.
            self.refused = f"the import raises {type(error).__name__}"
            self.may_pass = True

    def is_current(self) -> bool:
        """Return whether the files that the import has read are the same as then."""
        return all(import_watch.signature(path) == seen for path, seen in self._files.items()) and all(
            import_watch.presence(path) == seen for path, seen in self._looked.items()
        )

    def hello(self) -> dict[str, Any]:
        """Return the report to the server."""
        return {
            "why": self.refused,
            "may_pass": self.may_pass,
            "variables": self.variables,
            "bytes": system.memory_of([os.getpid()], 0),
        }

    def move_to(self, directory: str) -> None:
        """Give a task the code of the version as files of its own, and let the modules know them.

        Raises:
            OSError: The files cannot be written.
        """
        try:
            shutil.copytree(self._code, directory, symlinks=True, dirs_exist_ok=True)
        except OSError:
            # The server has ended this process, and removes its folder.
            if not flytekit_command.unpack(self.distribution, directory):
                raise
        relocate_modules(self._code, os.path.realpath(directory))

    def _prepare(self, request: dict[str, Any]) -> str:
        argv, env = request["argv"], dict(request["env"])
        work, temporary = (os.path.join(self._directory, name) for name in ("work", "tmp"))
        for folder in (work, temporary):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        os.chdir(work)
        env["TMPDIR"] = temporary
        if self.distribution:
            if not _unpack(self.distribution, self._code):
                return "its code is no small local archive"
            env["PYTHONPATH"] = os.pathsep.join(filter(None, (env.get("PYTHONPATH"), self._code)))
        flytekit_command.begin(argv, env)
        flytekit_command.renew_state()
        recognize(request["image"], argv)
        sys.path[:] = [*flytekit_command.search_path(argv[0], sys.path), os.path.realpath(work)]
        before = preload.loaded()
        try:
            with import_watch.watched(argv) as watch, _context_noted(watch), _coroutines_run_here(watch):
                for plugin in preload.plugins:
                    plugin.load()
                importlib.import_module(request["module"])
        except import_watch.ImportRefused:
            return watch.refused
        self.variables, self._files, self._looked = watch.variables, watch.files, watch.looked
        if self.distribution:
            self._files, self._looked = (
                {path: seen for path, seen in noted.items() if not path.startswith(self._code)}
                for noted in (watch.files, watch.looked)
            )
            self._files[self.distribution] = import_watch.signature(self.distribution)
        for name, _, file in _modules():
            package = name.partition(".")[0]
            if not file.startswith(self._code) and package not in before and package not in sys.stdlib_module_names:
                self._files.setdefault(file, import_watch.signature(file))
        compiled = preload.compiled_packages()
        why = f"it imports {', '.join(compiled)}" if compiled else ""
        return watch.refused or why or (self._own_paths() if self.distribution else "") or self._held_paths(before)

    def _own_paths(self) -> str:
        """Return why the code cannot be moved to the folder of a task after its import, or ""."""
        for name, module, file in _modules():
            if not file.startswith(self._code):
                continue
            code = module.__spec__.loader.get_code(name)
            if _mentions_path(code):
                return f"module {name} asks for its own path"
        return ""

    def _held_paths(self, before: dict[str, bool]) -> str:
        """Return which imported module keeps a path of the private folder, which each task has for itself, or ""."""
        folders = (self._directory, os.path.realpath(self._directory))
        for name, module, _ in _modules():
            package = name.partition(".")[0]
            if package in before or package in sys.stdlib_module_names or package in _MAIN:
                continue
            if _holds(module, folders):
                return f"module {name} holds a path of its process"
        return ""


def _modules() -> list[tuple[str, Any, str]]:
    """Return the names, modules and files of all modules that come from files and are loaded, lazy ones excepted."""
    found = []
    for name, module in list(sys.modules.items()):
        # To ask a lazy module for anything would import it.
        file = None if type(module).__name__ == "_LazyModule" else getattr(module, "__file__", None)
        if isinstance(file, str):
            found.append((name, module, file))
    return found


def _mentions_path(code: Any) -> bool:
    if _OWN_PATHS & {*code.co_names, *(const for const in code.co_consts if isinstance(const, str))}:
        return True
    return any(_mentions_path(const) for const in code.co_consts if hasattr(const, "co_names"))


def _holds(module: Any, folders: tuple[str, ...]) -> bool:
    """Return whether a module holds a path below folders, maybe in collections or in objects of its own classes."""
    waiting = [(value, _DEPTH) for name, value in vars(module).items() if not name.startswith("__")]
    seen: set[int] = set()
    while waiting and len(seen) < _VALUES_MAX:
        value, depth = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, (str, os.PathLike)):
            if any(folder in str(value) for folder in folders):
                return True
        elif depth:
            waiting += [(part, depth - 1) for part in _parts(value, module.__name__)]
    return False


def _parts(value: Any, module: str) -> Iterable[Any]:
    """Return what a value holds: a collection, a class of a module, or an object of such a class or with files."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    owner = value if isinstance(value, type) else type(value)
    if owner.__module__ in (module, "flytekit.core.data_persistence"):
        held = getattr(value, "__dict__", {})
        return [part for name, part in held.items() if not name.startswith("__")]
    return ()


def relocate_modules(source: str, target: str) -> None:
    """Let the modules from a folder name files below another folder as their own."""
    for _, module, file in _modules():
        if file.startswith(source + os.sep):
            _relocate(module, source, target)


def _relocate(module: Any, source: str, target: str) -> None:
    """Let a module name files below another folder as its own."""

    def moved(path: str) -> str:
        return target + path[len(source) :] if path == source or path.startswith(source + os.sep) else path

    module.__file__ = moved(module.__file__)
    spec = module.__spec__
    if spec is not None:
        spec.origin = moved(spec.origin or "")
        if getattr(spec.loader, "path", None):
            spec.loader.path = moved(spec.loader.path)
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations[:] = map(moved, spec.submodule_search_locations)
            module.__path__ = spec.submodule_search_locations
        if spec.cached:
            spec.cached = module.__cached__ = moved(spec.cached)


def _unpack(distribution: str, directory: str) -> bool:
    if not os.path.isfile(distribution):
        return False
    try:
        with tarfile.open(distribution) as archive:
            if sum(member.size for member in archive) > _CODE_BYTES_MAX:
                return False
    except (tarfile.TarError, EOFError, OSError):
        return False
    os.makedirs(directory, mode=0o700, exist_ok=True)
    return flytekit_command.unpack(distribution, directory)


@contextmanager
def _context_noted(watch: import_watch.ImportRecord) -> Iterator[None]:
    """Notice where an import asks flytekit for the execution, which differs between tasks."""
    kind: Any = sys.modules["flytekit.core.context_manager"].ExecutionState

    def read(self: Any) -> Any:
        watch.refuse("asks for the execution")
        return self.__dict__.get("user_space_params")

    def write(self: Any, value: Any) -> None:
        self.__dict__["user_space_params"] = value

    kind.user_space_params = property(read, write)
    try:
        yield
    finally:
        del kind.user_space_params


@contextmanager
def _coroutines_run_here(watch: import_watch.ImportRecord) -> Iterator[None]:
    """Run coroutines that do not wait, such as those of launch plans, without the event loop and thread of flytekit.

    An event loop would have open files, and a process with threads cannot fork tasks.
    """
    module: Any = sys.modules.get("flytekit.utils.asyn")
    kind: Any = getattr(module, "_TaskRunner", None)
    runners: Any = getattr(getattr(module, "loop_manager", None), "_runner_map", None)
    if not isinstance(runners, dict) or not hasattr(kind, "run"):
        yield
        return
    original = kind.run

    def run(self: Any, coroutine: Coroutine[Any, Any, Any]) -> Any:
        # An exception may come from the missing loop. Each task imports the module, and reports it otherwise.
        with suppress(Exception):
            try:
                coroutine.send(None)
            except StopIteration as end:
                return end.value
        coroutine.close()
        watch.refuse("waits in an event loop")
        raise import_watch.ImportRefused

    kind.run = run
    try:
        yield
    finally:
        kind.run = original
        # The runners have no event loop yet, and belong to this process.
        runners.clear()
