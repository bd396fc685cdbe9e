"""The private folders of tasks are removed in one pass."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from app.engine.local.processes.forkserver.folders import remove_tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with seven entries, a link to a folder outside among them."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("1")
    made = tmp_path / "folder"
    (made / "deep" / "deeper" / "empty").mkdir(parents=True)
    for path in (made / "file", made / "deep" / "file"):
        path.write_text("1")
    (made / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(made / "pipe")
    return made


def test_a_folder_goes_with_its_entries_and_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    assert remove_tree(str(folder), 200) == 193
    assert [path.name for path in tmp_path.rglob("*")] == ["outside", "kept"]


@pytest.mark.parametrize("entries_max", [1, 3, 7])
def test_entries_beyond_the_limit_remain(folder: Path, entries_max: int) -> None:
    assert remove_tree(str(folder), entries_max) == 0
    remaining = len(list(folder.rglob("*")))
    assert 7 - entries_max < remaining <= 7
    assert remove_tree(str(folder), sys.maxsize) == sys.maxsize - remaining
    assert not folder.exists()


def test_a_link_in_place_of_the_folder_is_named_and_stays(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert remove_tree(str(link), 200) == 200
    assert len(list(folder.rglob("*"))) == 7
    assert capsys.readouterr().err == f"{link} could not be removed completely\n"


def test_a_folder_that_is_gone_needs_nothing(tmp_path: Path) -> None:
    assert remove_tree(str(tmp_path / "gone"), 200) == 200
