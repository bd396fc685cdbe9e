"""The imports of a warm fork server: flytekit, without state that every task must have for itself.

A forked task shares the state that the fork server made at import. So a fork server is warm only if this state can be
replaced after the fork (flytekit_command.py). It must have no threads, no packages that the start of the interpreter
imported, and no compiled packages beside flytekit and its requirements. For example, the first import of numpy fixes
its random state, its thread pool and OMP_NUM_THREADS.
"""

from __future__ import annotations

import collections
import gc
import importlib
import importlib.machinery
import importlib.metadata
import os
import random
import re
import site
import socket
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from . import command_line, coroutines, shortcuts

COMMANDS = {"pyflyte-execute": "execute_task_cmd", "pyflyte-map-execute": "map_execute_task_cmd"}
FAST = "pyflyte-fast-execute"
_FAST_COMMAND = "fast_execute_task_cmd"
_PLUGINS = "flytekit.plugins"
# environments/plugin.py installs it.
_OWN_PLUGIN = "flyteadmin"
# Import hooks of installers, which an interpreter may load at its start, and psutil, which app/system may import. They
# have no state.
_HOOKS = frozenset({"_distutils_hack", "_virtualenv", "psutil"})
# Compiled packages that requirements of flytekit import if they are installed. They have no state.
_STATELESS = frozenset(
    (
        *("_brotli", "_cffi_backend", "_zstandard", "brotli", "cchardet", "lz4", "orjson", "pycares", "rapidjson"),
        *("simplejson", "snappy", "ujson", "uvloop", "zstandard"),
    )
)
_NEEDED = {
    "flytekit.bin.entrypoint": (*COMMANDS.values(), _FAST_COMMAND, "_download_distribution"),
    "flytekit.interfaces.random": ("random",),
    "flytekit.core.data_persistence": ("flyte_tmp_dir", "default_local_file_access_provider"),
    "flytekit.core.context_manager": ("FlyteContextManager", "default_local_file_access_provider"),
}

# Set by preload(): the plugins that each task must import, and the generators of random numbers that it must seed.
plugins: list[importlib.metadata.EntryPoint] = []
generators: list[random.Random] = []


def preload(native_threads: Callable[[], int]) -> dict[str, Any]:
    """Import flytekit's entry point and report whether tasks may be forked from this process.

    Args:
        native_threads: Returns the number of this process's threads, including those of C libraries.

    Returns:
        `warm`: whether tasks may be forked. `why`: the reason if they may not. `packages`: the folders of installed
        packages; after a change in them this process is outdated. `read`: the environment variables that the imports
        have read; in a forked task a new value of them has no effect.
    """
    packages = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()})
    read: set[str] = set()
    at_start = loaded()
    with _recorded(read), _plugins_deferred():
        why = import_flytekit()
    if not why:
        if threading.active_count() != 1 or native_threads() != 1:
            why = "importing flytekit starts threads"
        else:
            why = state_of_others(at_start)
    generators[:] = [found for found in gc.get_objects() if type(found) is random.Random]
    hello: dict[str, Any] = {"warm": not why, "packages": packages, "read": sorted(read)}
    return {**hello, "why": why} if why else hello


def import_flytekit() -> str:
    """Import flytekit; return why this version does not allow to fork tasks, or ""."""
    try:
        for name, attributes in _NEEDED.items():
            module = importlib.import_module(name)
            for attribute in attributes:
                if not hasattr(module, attribute):
                    return f"this flytekit has no {name}.{attribute}"
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    provider = sys.modules["flytekit.core.data_persistence"].default_local_file_access_provider
    if not {"_local_sandbox_dir", "_raw_output_prefix"} <= vars(provider).keys():
        return "the folders of its FileAccessProvider cannot be replaced"
    coroutines.run_in_main_thread()
    coroutines.close_connector_loop()
    shortcuts.take()
    _fill_caches()
    return ""


def _fill_caches() -> None:
    """Compute what every task would compute again, and what is the same for all of them."""
    if "docstring_parser" in sys.modules:
        # Every task definition parses its docstring. The first call compiles regular expressions for all tasks.
        sys.modules["docstring_parser"].parse("")
    entrypoint: Any = sys.modules["flytekit.bin.entrypoint"]
    attributes = {**COMMANDS, FAST: _FAST_COMMAND}
    command_line.compare({name: getattr(entrypoint, attribute) for name, attribute in attributes.items()})
    # The C library reads its configuration at the first lookup. Each task looks for flytekit's receiver of statistics.
    with suppress(OSError):
        socket.getaddrinfo("localhost", None)
    # The answers of isinstance() for abstract classes are kept.
    collections.Counter([""])


def state_of_others(at_start: dict[str, bool]) -> str:
    """Return why forked tasks would share state that each of them must have for itself, or "".

    Args:
        at_start: The packages that were loaded before flytekit (`loaded`).
    """
    found = {name for name, compiled in loaded().items() if name in at_start or (compiled and name not in _STATELESS)}
    foreign = sorted(found - _required("flytekit") - _HOOKS)
    if not foreign:
        return ""
    return f"importing flytekit also imports {', '.join(foreign)}, which every task has to import itself"


def compiled_packages() -> list[str]:
    """Return the loaded packages with compiled code beside those of flytekit; they may have state of their own."""
    found = {name for name, compiled in loaded().items() if compiled and name not in _STATELESS}
    return sorted(found - _required("flytekit") - _HOOKS)


def loaded() -> dict[str, bool]:
    """Return the loaded packages outside the standard library, and whether compiled code of them is loaded.

    A package that flytekit imports lazily counts as loaded after its first use.
    """
    found: dict[str, bool] = {}
    for name, module in list(sys.modules.items()):
        spec = None if type(module).__name__ == "_LazyModule" else getattr(module, "__spec__", None)
        origin = getattr(spec, "origin", None) or ""
        top = name.partition(".")[0]
        # mypyc and the standard library generate such names.
        generated = top.endswith("__mypyc") or top.startswith("_sysconfigdata_")
        if os.path.isabs(origin) and top not in sys.stdlib_module_names and not generated:
            compiled = origin.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
            found[top] = found.get(top, False) or compiled
    return found


def _required(distribution: str) -> set[str]:
    """Return the top-level packages of a distribution and of its requirements, without extras."""
    seen: set[str] = set()
    waiting = [distribution]
    found: set[str] = set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            one = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        # An editable installation lists no packages. Most packages have the name of their distribution.
        found.update((name.replace("-", "_"), *_top_level(one)))
        named = (re.match(r"[\w.-]+", text) for text in one.requires or () if "extra ==" not in text)
        waiting += [match[0] for match in named if match]
    return found


def _top_level(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    listed = distribution.read_text("top_level.txt")
    lines = listed.split() if listed else (distribution.read_text("RECORD") or "").splitlines()
    return (re.split(r"[/.,]", line, maxsplit=1)[0] for line in lines)


@contextmanager
def _recorded(read: set[str]) -> Iterator[None]:
    """Add the name of every environment variable that the block reads to `read`."""
    kind: Any = type(os.environ)
    original = kind.__getitem__

    def recording(self: Any, name: Any) -> Any:
        read.add(name)
        return original(self, name)

    kind.__getitem__ = recording
    try:
        yield
    finally:
        kind.__getitem__ = original


@contextmanager
def _plugins_deferred() -> Iterator[None]:
    """Keep flytekit from importing its installed plugins, and collect them in `plugins` for the tasks."""
    original: Any = importlib.metadata.entry_points
    deferring = True

    def entry_points(**selected: Any) -> Any:
        found = original(**selected)
        if deferring and selected.get("group") == _PLUGINS:
            # Tasks register nothing, so they do not need our plugin.
            plugins[:] = [plugin for plugin in found if plugin.name != _OWN_PLUGIN]
            return ()
        return found

    importlib.metadata.entry_points = entry_points
    try:
        yield
    finally:
        importlib.metadata.entry_points = original
        # Modules that imported the function by its name keep this one, so from now on it acts like the original.
        deferring = False
