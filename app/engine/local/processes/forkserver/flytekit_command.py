"""Runs flytekit's commands in a forked interpreter, after setting what a new interpreter would set at its start."""

from __future__ import annotations

import atexit
import importlib
import json
import logging
import os
import pathlib
import signal
import sys
import tarfile
import tempfile
import threading
import time
import traceback
import types
import zlib
from typing import Any, Protocol

from . import command_line, preload
from .image_spec import recognize

# Names of modules that a forked task hides too. Looking for them there would copy the pages that hold all names.
_hidden_later: list[str] = []


def hide_own_modules(*, psutil: bool = False) -> None:
    """Remove this server's modules from sys.modules: a package of the user may have the name `app` too.

    The modules work on, because they have imported each other already.

    Args:
        psutil: Whether a forked task shall not find the psutil that this process has imported.
    """
    for name in list(sys.modules):
        top = name.partition(".")[0]
        if top == __name__.partition(".")[0]:
            del sys.modules[name]
        elif psutil and top == "psutil":
            _hidden_later.append(name)


def main() -> None:
    """Run one of flytekit's commands in this new interpreter.

    The arguments are an image, the path of a file with further variables or "", a script and its arguments.
    A version of flytekit that lacks an attribute which is needed here runs its own script instead.
    """
    hide_own_modules()
    image, variables, *argv = sys.argv[1:]
    if variables:
        with open(variables, encoding="utf-8") as file:
            os.environ.update(json.load(file))
        os.unlink(variables)
    if preload.import_flytekit():
        os.execv(argv[0], argv)
    inherited = {os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
    _become_main(argv[0])
    recognize(image, argv)
    _command(argv, [entry for entry in sys.path if entry not in inherited])


class ForkableModule(Protocol):
    """An imported module of a user, whose tasks this process forks (imported_module.py)."""

    distribution: str

    def move_to(self, directory: str) -> None:
        """Give a task the code of its version."""


def begin(argv: list[str], env: dict[str, str]) -> None:
    """Make this process look like a new interpreter that runs a script with these variables."""
    for name in set(os.environ).difference(env):
        del os.environ[name]
    os.environ.update({name: value for name, value in env.items() if os.environ.get(name) != value})
    time.tzset()
    folder = env.get("TMPDIR", "")
    usable = os.path.isabs(folder) and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
    # Without a folder here, the first temporary file looks for one by writing to it.
    tempfile.tempdir = folder if usable else None
    for name in _hidden_later:
        sys.modules.pop(name, None)
    _become_main(argv[0])


def run(
    argv: list[str],
    env: dict[str, str],
    base_path: list[str],
    image: str,
    imported: ForkableModule | None = None,
    *,
    ends: bool = True,
) -> int:
    """Run one of flytekit's commands here and return its exit code.

    Args:
        argv: The command; its first element is the path of its script.
        env: All variables of the task.
        base_path: The interpreter's search path.
        image: The image that the task names.
        imported: The imported module that the task uses; None if it has to import one.
        ends: Whether the interpreter ends with the command. Otherwise `end` has to be called.
    """
    main = sys.modules["__main__"]
    begin(argv, env)
    if imported is not None:
        # The imported module may have it.
        sys.modules["__main__"] = main
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = _exit_code(argv, base_path, image, imported)
        if ends:
            end()
    except BaseException:  # noqa: BLE001 - an interpreter prints any exception and exits with 1.
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120  # As an interpreter does that cannot flush its output at its end.
    return code


def end() -> None:
    """Wait for threads, then call what atexit holds, as an interpreter does at its end."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()


def _become_main(script: str) -> None:
    """Make `__main__` look as in a new interpreter that runs the script."""
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.modules["__main__"].__file__ = script


def _exit_code(argv: list[str], base_path: list[str], image: str, imported: ForkableModule | None) -> int:
    try:
        renew_state()
        if imported is None:
            for plugin in preload.plugins:
                plugin.load()
            recognize(image, argv)
        _command(argv, base_path, imported)
    except SystemExit as end:
        if end.code is None:
            return 0
        if isinstance(end.code, int):
            return end.code & 0xFF
        print(end.code, file=sys.stderr)  # noqa: T201 - an interpreter prints such a code.
        return 1
    return 0


def renew_state() -> None:
    """Replace the state that flytekit's imports took from environment, clock or chance."""
    # Without new seeds two tasks would draw equal random names, and overwrite each other's data.
    for generator in preload.generators:
        generator.seed()
    if "multiprocessing.process" in sys.modules:
        sys.modules["multiprocessing.process"].current_process().authkey = os.urandom(32)
    # Log records show the time since this moment.
    logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()  # type: ignore[attr-defined]
    persistence: Any = sys.modules["flytekit.core.data_persistence"]
    persistence.flyte_tmp_dir = tempfile.mkdtemp(prefix="flyte-")
    # A new one would take longer. The rest of it depends on variables that are read at the start of a fork server.
    provider = persistence.default_local_file_access_provider
    provider._local_sandbox_dir = pathlib.Path(persistence.flyte_tmp_dir)
    provider._raw_output_prefix = os.path.join(persistence.flyte_tmp_dir, "raw", "")
    sys.modules["flytekit.core.context_manager"].FlyteContextManager.initialize()


def _command(argv: list[str], base_path: list[str], imported: ForkableModule | None = None) -> None:
    entrypoint: Any = sys.modules["flytekit.bin.entrypoint"]
    name = os.path.basename(argv[0])
    sys.argv = list(argv)
    sys.orig_argv[:] = [sys.executable, *argv]
    sys.path[:] = search_path(argv[0], base_path)
    if name == preload.FAST:
        argv = _fetch(entrypoint, argv, imported)
        # flytekit would start a second interpreter here, which would have the new PYTHONPATH in its search path.
        sys.argv = list(argv)
        sys.path[:] = search_path(argv[0], base_path)
        importlib.invalidate_caches()
        name = os.path.basename(argv[0])
    command_line.run(getattr(entrypoint, preload.COMMANDS[name]), name, argv[1:])


def search_path(script: str, base_path: list[str]) -> list[str]:
    """Return sys.path as a console script has it: its own directory, PYTHONPATH, then the interpreter's paths."""
    extra = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [os.path.dirname(script), *(os.path.abspath(entry) for entry in extra if entry), *base_path]


def _fetch(entrypoint: Any, argv: list[str], imported: ForkableModule | None) -> list[str]:
    """Unpack the code that was registered with the task, and return the command to run with that code.

    # Parity: flytekit.bin.entrypoint.fast_execute_task_cmd, without its second interpreter.
    """
    command = entrypoint.fast_execute_task_cmd
    try:
        params = command_line.context_of(command, preload.FAST, argv[1:]).params
    except sys.modules["click"].ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    distribution, directory = params["additional_distribution"], params["dest_dir"]
    if distribution is not None:
        directory = directory or os.getcwd()
        if imported is not None:
            imported.move_to(directory)
        elif not unpack(distribution, directory):
            entrypoint._download_distribution(distribution, directory)
    inner: list[str] = []
    for argument in params["task_execute_cmd"]:
        if argument == "--resolver" and distribution is not None:
            inner += ["--dynamic-addl-distro", distribution, "--dynamic-dest-dir", directory]
        inner.append(argument)
    if directory is not None:
        resolved = os.path.realpath(os.path.expanduser(directory))
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = resolved if before is None else before + os.pathsep + resolved
    return [os.path.join(os.path.dirname(argv[0]), inner[0]), *inner[1:]]


def unpack(distribution: str, directory: str) -> bool:
    """Unpack code from a local file without the program tar, which takes longer than many tasks.

    Returns:
        False if flytekit has to fetch it: the code is elsewhere, or is no such archive.
    """
    if not (distribution.endswith(".tar.gz") and os.path.isfile(distribution) and hasattr(tarfile, "tar_filter")):
        return False
    try:
        with tarfile.open(distribution) as archive:
            archive.extractall(directory, filter="tar")  # nosec B202 # the code of the task, into its own folder
    except (tarfile.TarError, EOFError, OSError, zlib.error):
        return False
    return True
