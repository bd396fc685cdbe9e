"""Replaces parts of flytekit that run in each task by cheaper ones with the same result.

Short tasks spend most of their time in flytekit's preparations. A part is replaced only if this version of flytekit has
it in the known form. Otherwise flytekit's own part runs.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
import types
from contextlib import suppress
from typing import Any

# fsspec reads these as patterns.
_MAGIC = frozenset("*?[")
# flytekit passes it for stores that keep it; fsspec drops it for files.
_IGNORED = frozenset(("metadata",))


def take() -> None:
    """Replace the parts. Called once, after flytekit is imported."""
    manager: Any = sys.modules["flytekit.core.context_manager"]
    if callable(getattr(manager.FlyteContextManager, "get_origin_stackframe", None)):
        manager.FlyteContextManager.get_origin_stackframe = staticmethod(_origin_stackframe)
    _make_folders_of_checkpoints_late()
    _copy_local_files()


def _origin_stackframe(limit: int = 2) -> traceback.FrameSummary:
    """Return the caller of a context. flytekit reads its line from the source too, which is rarely asked for."""
    frame = sys._getframe()
    while limit and frame.f_back is not None:
        frame = frame.f_back
        limit -= 1
    code = frame.f_code
    return traceback.FrameSummary(code.co_filename, frame.f_lineno, code.co_name, lookup_line=False)


def _make_folders_of_checkpoints_late() -> None:
    """Make the temporary folder of a checkpoint when a task uses it, which few tasks do."""
    module: Any = sys.modules.get("flytekit.core.checkpointer")
    if getattr(module, "tempfile", None) is tempfile:
        module.tempfile = types.SimpleNamespace(**(vars(tempfile) | {"TemporaryDirectory": _LateFolder}))


class _LateFolder:
    """A temporary folder that is made when its name is asked for."""

    def __init__(self) -> None:
        self._made: tempfile.TemporaryDirectory[str] | None = None

    @property
    def name(self) -> str:
        if self._made is None:
            self._made = tempfile.TemporaryDirectory()
        return self._made.name

    def cleanup(self) -> None:
        if self._made is not None:
            self._made.cleanup()


def _copy_local_files() -> None:
    """Copy a file, or the files of a folder, from disk to disk without fsspec's patterns and lists."""
    kind: Any = getattr(sys.modules.get("flytekit.core.local_fsspec"), "FlyteLocalFileSystem", None)
    if not hasattr(kind, "get") or not hasattr(kind, "put"):
        return
    original_get, original_put = kind.get, kind.put

    def get(self: Any, rpath: Any, lpath: Any, recursive: bool = False, **more: Any) -> Any:
        source, target = _plain_path(rpath), _plain_path(lpath, url=False)
        is_plain = self.auto_mkdir and source and target and not recursive and _IGNORED.issuperset(more)
        if not is_plain or not os.path.isfile(source) or os.path.isdir(target):
            return original_get(self, rpath, lpath, recursive=recursive, **more)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)
        return None

    def put(self: Any, lpath: Any, rpath: Any, recursive: bool = False, **more: Any) -> Any:
        # With a slash at the end of both, the entries of one folder go into the other one.
        source, target = _plain_folder(lpath, url=False), _plain_folder(rpath)
        is_plain = self.auto_mkdir and source and target and recursive and _IGNORED.issuperset(more)
        names = _files_in(source) if is_plain else None
        if names is None:
            return original_put(self, lpath, rpath, recursive=recursive, **more)
        os.makedirs(target, exist_ok=True)
        for name in names:
            shutil.copyfile(os.path.join(source, name), os.path.join(target, name))
        return None

    kind.get, kind.put = get, put


def _plain_path(path: Any, *, url: bool = True) -> str:
    """Return the absolute path that a path, or the URL of a file, names; "" if fsspec has to interpret it."""
    if not isinstance(path, str):
        return ""
    if url:
        path = path.removeprefix("file://")
    return path if path.startswith("/") and not path.endswith("/") and _MAGIC.isdisjoint(path) else ""


def _plain_folder(path: Any, *, url: bool = True) -> str:
    """Return the absolute path of a folder that is written with a slash at its end; "" for any other path."""
    return _plain_path(path[:-1], url=url) if isinstance(path, str) and path.endswith("/") else ""


def _files_in(folder: str) -> list[str] | None:
    """Return the names of the files in a folder; None if it holds anything else, or is no folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        found = list(entries)
        if all(entry.is_file(follow_symlinks=False) for entry in found):
            return [entry.name for entry in found]
    return None
