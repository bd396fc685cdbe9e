"""The wheel holds all that the server needs, below app/ alone: it is built, installed and started."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TextIO

import httpx
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support.servers import PORT_FLAGS, ROOT, Running, environment

pytestmark = pytest.mark.slow

BUILD = "from setuptools import build_meta as backend; print(backend.build_{kind}({folder!r}))"


def tracked(*paths: str) -> list[str]:
    """Return the files of the repository below these paths."""
    command = ["git", "ls-files", *paths]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def build(source: Path, kind: str, folder: Path) -> Path:
    """Build an "sdist" or a "wheel" of a source folder and return its path."""
    command = [sys.executable, "-c", BUILD.format(kind=kind, folder=str(folder))]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a source distribution of the tracked files."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in tracked():
        if not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    with tarfile.open(build(source, "sdist", folder)) as archive:
        archive.extractall(folder / "sdist", filter="data")
    [unpacked] = (folder / "sdist").iterdir()
    return build(unpacked, "wheel", folder)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an empty environment with the wheel, which takes its dependencies from this one."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    # A path from a .pth file comes last, and .pth files below it, as that of an editable install, are not read.
    (packages / "dependencies.pth").write_text(f"{Path(httpx.__file__).parents[1]}\n")
    return folder / "bin"


def variables(home: Path) -> dict[str, str]:
    """Return the variables of a server with a home, without the path of this repository."""
    given = environment(home, FLYTEADMIN__SERVER__DRAINSECONDS="0")
    return {name: value for name, value in given.items() if name != "PYTHONPATH"}


def test_the_wheel_holds_app_alone_and_all_of_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"app"}
    assert set(tracked("app")) <= names
    top = [*tracked("alembic"), "alembic.ini", "openapi/flyte.json", "examples/hello.py"]
    assert {f"app/bundled/{name}" for name in top} <= names


def test_the_code_of_the_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    code = "import app; print(app.__file__)"
    shown = subprocess.run(
        [installed / "python", "-c", code], cwd=tmp_path, env=variables(tmp_path), capture_output=True, text=True
    )
    assert shown.stdout.startswith(str(installed.parent))


def test_migrate_serve_and_mcp(installed: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    command, given = str(installed / "flyteadmin"), variables(home)
    migrated = subprocess.run([command, "migrate", "run"], env=given, cwd=tmp_path, capture_output=True, text=True)
    assert migrated.returncode == 0, migrated.stderr
    assert (home / "flyteadmin.db").exists()
    ports = [part for flag in PORT_FLAGS for part in (flag, "0")]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [command, "serve", *ports], env=given, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, text=True
        )
    server = Running(process, tmp_path / "log")
    try:
        server.wait_until("flyteadmin is ready")
        assert httpx.get(f"{server.web}/api/v1/projects").json()["projects"][0]["id"] == "flytesnacks"
        assert httpx.get(f"{server.web}/openapi.json").json()["openapi"] == "3.1.0"
        assert httpx.get(f"{server.web}/docs").status_code == 200
    finally:
        assert server.stop() == 0
    parameters = StdioServerParameters(command=command, args=["mcp"], env=given, cwd=tmp_path)
    with (tmp_path / "mcp").open("w") as log:
        assert asyncio.run(tools(parameters, log)) > 7


async def tools(parameters: StdioServerParameters, log: TextIO) -> int:
    """Start `flyteadmin mcp` and return how many tools it lists."""
    async with Client(stdio_client(parameters, errlog=log), read_timeout_seconds=60) as client:
        return len((await client.list_tools()).tools)
