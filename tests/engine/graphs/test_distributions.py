"""Code that comes with its registration, and files that tasks hand on: nothing reaches another task by chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine.graphs.remote import Remote

pytestmark = pytest.mark.campaign

# Every workflow of this module runs it twice at once, in dynamic nodes too.
_PARCEL = '''
import os
import time

import contents
from flytekit import dynamic, task, workflow
from flytekit.types.file import FlyteFile


@task
def look(seconds: float) -> str:
    """Which code runs where, while others do."""
    before = contents.ANSWER
    time.sleep(seconds)
    with open("contents.py") as file:
        assert file.read() == f"ANSWER = {contents.ANSWER!r}\\n"
    return f"{before} {os.getcwd()}"


@task
def write(text: str) -> FlyteFile:
    with open("parcel.txt", "w") as file:
        file.write(text)
    return FlyteFile("parcel.txt")


@task
def read(file: FlyteFile) -> str:
    with open(file) as content:
        return content.read()


@task
def joined(words: list[str], files: list[FlyteFile]) -> str:
    return "\\n".join([*words, *(os.fspath(file) for file in files)])


@dynamic
def opened(seconds: float, count: int) -> str:
    """What a dynamic task asks for runs the code that came with it."""
    files = [write(text=f"{contents.ANSWER} {number}") for number in range(count)]
    looks = [look(seconds=seconds) for _ in range(count)]
    return joined(words=[*looks, *(read(file=file) for file in files)], files=files)


@workflow
def parcel(seconds: float, count: int) -> str:
    return opened(seconds=seconds, count=count)
'''


def launch(remote: Remote, version: str, count: int) -> str:
    inputs: dict[str, Any] = {"seconds": 1.0, "count": count}
    return remote.launch("parcel.parcel", inputs, version=version)


def test_executions_of_different_code_run_beside_one_another(remote: Remote, tmp_path: Path) -> None:
    """Two versions of one module, each with a file that the other one has too, in folders of their own."""
    count = 3
    for version in ("red", "blue"):
        folder = tmp_path / version
        folder.mkdir()
        (folder / "contents.py").write_text(f"ANSWER = {version!r}\n")
        (folder / "parcel.py").write_text(_PARCEL)
        remote.script("fast.py", str(folder), "parcel", "parcel", version)
    names = {version: launch(remote, version, count) for version in ("red", "blue")}
    folders, files = [], []
    for version, name in names.items():
        lines = remote.outputs(name)["o0"].splitlines()
        looks, texts, found = lines[:count], lines[count : 2 * count], lines[2 * count :]
        assert [look.split()[0] for look in looks] == [version] * count
        assert texts == [f"{version} {number}" for number in range(count)]
        assert [Path(file).read_text() for file in found] == texts
        folders += [look.split()[1] for look in looks]
        files += found
    assert len(set(folders)) == 2 * count
    assert len({Path(file).parent.name for file in files}) == 2 * count, "children of the fork server share their luck"
    synced = remote.script("synced.py", *names.values())
    for name in names.values():
        assert synced[name]["nodes"] == remote.phases(name)
