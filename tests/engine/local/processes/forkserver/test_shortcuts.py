"""Replaced parts of flytekit do what flytekit's own parts do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import app
from tests.engine import environment

pytestmark = pytest.mark.slow

_BOOT = """
import json, os, pathlib, sys, tempfile, types
package = sys.modules["app"] = types.ModuleType("app")
package.__path__ = [sys.argv[1]]
from app.engine.local.processes.forkserver import shortcuts
import flytekit.bin.entrypoint
from flytekit.core import checkpointer, context_manager, data_persistence
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.local_fsspec import FlyteLocalFileSystem

if sys.argv[2] == "replaced":
    shortcuts.take()
found = {}
"""

_COPIES = """
def outcome(name, work):
    folder = pathlib.Path(tempfile.mkdtemp())
    source = folder / "source"
    (source / "below").mkdir(parents=True)
    flat = folder / "flat"
    flat.mkdir()
    for path in (source / "a", source / "below" / "b", flat / "a", flat / ".hidden", flat / "x[1]"):
        path.write_text(path.name)
    (folder / "linked").mkdir()
    (folder / "linked" / "to").symlink_to(flat / "a")
    (folder / "empty").mkdir()
    (folder / "present").mkdir()
    try:
        error = str(work(folder)).replace(str(folder), "")
    except Exception as raised:
        error = type(raised).__name__
    files = {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in folder.rglob("*")}
    found[name] = [error, files]

access = context_manager.FlyteContextManager.current_context().file_access
for url in ("", "file://"):
    for name in ("source/a", "flat/x[1]", "missing", "source", "present/", "linked/to"):
        for target in ("new/deep/file", "present", "present/", "flat/a"):
            outcome(
                f"get {url}{name} {target}",
                lambda folder: access.get_data(f"{url}{folder}/{name}", f"{folder}/{target}"),
            )
    for name in ("source", "flat", "linked", "empty", "missing", "source/a"):
        for target in ("out", "present", "new/deep", "flat/a", "out/"):
            for many in (True, False):
                outcome(
                    f"put {url}{name} {target} {many}",
                    lambda folder: access.put_data(f"{folder}/{name}", f"{url}{folder}/{target}", is_multipart=many),
                )
            outcome(
                f"get {url}{name} {target} all",
                lambda folder: access.get_data(f"{url}{folder}/{name}", f"{folder}/{target}", is_multipart=True),
            )
"""

_CONTEXTS = """
def caller(limit):
    frame = FlyteContextManager.get_origin_stackframe(limit)
    return [os.path.basename(frame.filename), frame.lineno, frame.name]

found["frames"] = [caller(limit) for limit in (1, 2, 3, 30)]
with FlyteContextManager.with_context(FlyteContextManager.current_context().new_builder()) as context:
    found["origin"] = context.get_origin_stackframe_repr()
"""

_CHECKPOINTS = """
folder = pathlib.Path(tempfile.mkdtemp())
tempfile.tempdir = str(folder)
unused = checkpointer.SyncCheckpoint(f"{folder}/one")
if sys.argv[2] == "replaced":
    assert not os.listdir(folder)
used = checkpointer.SyncCheckpoint(f"{folder}/one")
used.write(b"state")
found["written"] = sorted(path.read_text() for path in folder.glob("one/*"))
later = checkpointer.SyncCheckpoint(f"{folder}/two", f"{folder}/one")
found["read"] = later.read().decode()
del unused, used, later
found["left"] = sorted(path.name for path in folder.glob("*") if path.name not in ("one", "two"))
"""

# One expression for each part that `take` replaces.
_PARTS = [
    "FlyteContextManager.get_origin_stackframe",
    "checkpointer.tempfile.TemporaryDirectory",
    "FlyteLocalFileSystem.get",
    "FlyteLocalFileSystem.put",
]


def _found(script: str, which: str, tmp_path: Path) -> Any:
    python = environment.path() / "bin" / "python"
    command = [str(python), "-c", f"{_BOOT}{script}\nprint(json.dumps(found, sort_keys=True))"]
    variables = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*command, str(Path(app.__file__).parent), which],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("script", [_COPIES, _CONTEXTS, _CHECKPOINTS])
def test_replaced_parts_have_the_same_results(script: str, tmp_path: Path) -> None:
    own, replaced = (_found(script, which, tmp_path) for which in ("own", "replaced"))
    assert own
    assert replaced == own


@pytest.mark.parametrize("part", _PARTS)
def test_each_part_of_this_flytekit_is_replaced(part: str, tmp_path: Path) -> None:
    script = f"found = {part}.__module__ == shortcuts.__name__"
    assert not _found(script, "own", tmp_path)
    assert _found(script, "replaced", tmp_path)
