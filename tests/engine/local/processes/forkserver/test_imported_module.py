"""The code of a version in the folder of a module server, which goes while a task may be copying it."""

from __future__ import annotations

import os
import shutil
import tarfile
import types
from pathlib import Path
from typing import Any

import pytest

from app.engine.local.processes.forkserver.imported_module import ImportedModule, _holds
from app.engine.local.processes.pool import fork_server_client


def module_of(code: Path, archive: Path) -> ImportedModule:
    made = object.__new__(ImportedModule)
    made._code, made.distribution = str(code), str(archive)
    return made


def test_a_task_whose_module_server_is_removed_meanwhile_unpacks_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, archive, work = tmp_path / "module-1" / "code", tmp_path / "code.tar.gz", tmp_path / "work"
    (code / "data").mkdir(parents=True)
    (code / "data" / "one.txt").write_text("one")
    (code / "module.py").write_text("VALUE = 1\n")
    with tarfile.open(archive, "w:gz") as tar:
        for name in os.listdir(code):
            tar.add(code / name, name)
    rmtree = shutil.rmtree

    def removing(path: Path, **more: bool) -> None:
        # While files go one by one, no task may find some of them.
        module_of(code, archive).move_to(str(work))
        assert not code.exists()
        rmtree(path, **more)

    monkeypatch.setattr(shutil, "rmtree", removing)
    fork_server_client._remove(code.parent)
    assert (work / "data" / "one.txt").read_text() == "one"
    assert (work / "module.py").is_file()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["work"]


def test_a_task_without_its_code_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        module_of(tmp_path / "nowhere", tmp_path / "nowhere.tar.gz").move_to(str(tmp_path / "work"))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("VALUE = {folder!r} + '/data'", True),
        ("VALUE = [Path({folder!r}) / 'data']", True),
        ("VALUE = {{'paths': {{'data': {folder!r}}}}}", True),
        ("class Config:\n    data = {folder!r}", True),
        ("class Config:\n    def __init__(self): self.data = {folder!r}\nVALUE = Config()", True),
        ("VALUE = []\nVALUE.append(VALUE)", False),
        ("VALUE = '/elsewhere'", False),
    ],
)
def test_paths_of_the_private_folder_that_a_module_holds_are_found(tmp_path: Path, text: str, holds: bool) -> None:
    module: Any = types.ModuleType("mine")
    exec("from pathlib import Path\n" + text.format(folder=str(tmp_path)), module.__dict__)
    assert _holds(module, (str(tmp_path),)) is holds
