"""The code of a version in the folder of a template, which goes while a task may be copying it."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from app.engine.local.processes import fork_server_client
from app.engine.local.processes.forkserver.template import Template


def template_of(code: Path, archive: Path) -> Template:
    made = object.__new__(Template)
    made._code, made.distribution = str(code), str(archive)
    return made


def test_a_task_whose_template_is_removed_meanwhile_unpacks_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, archive, work = tmp_path / "template-1" / "code", tmp_path / "code.tar.gz", tmp_path / "work"
    (code / "data").mkdir(parents=True)
    (code / "data" / "one.txt").write_text("one")
    (code / "module.py").write_text("VALUE = 1\n")
    with tarfile.open(archive, "w:gz") as tar:
        for name in os.listdir(code):
            tar.add(code / name, name)
    rmtree = shutil.rmtree

    def removing(path: Path, **more: bool) -> None:
        # While files go one by one, no task may find some of them.
        template_of(code, archive).move_to(str(work))
        assert not code.exists()
        rmtree(path, **more)

    monkeypatch.setattr(shutil, "rmtree", removing)
    fork_server_client._remove(code.parent)
    assert (work / "data" / "one.txt").read_text() == "one"
    assert (work / "module.py").is_file()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["work"]


def test_a_task_without_its_code_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        template_of(tmp_path / "nowhere", tmp_path / "nowhere.tar.gz").move_to(str(tmp_path / "work"))
