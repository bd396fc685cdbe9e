"""No process of a server shows a secret in its environment, and all of them can still use it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.runtime import own_environment
from app.system import system
from tests.support.servers import serving

SECRET = "5ecret-of-the-test"
CODE = """
import ctypes, os
from app.runtime import own_environment
own_environment.hide()
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(os.environ["SOME_TOKEN"], getenv(b"SOME_TOKEN").decode(), open("/proc/self/environ").read().strip("\\0") == "")
"""


@pytest.mark.skipif(system.is_portable, reason="the environment of a process can be hidden on Linux only")
class TestProcesses:
    @pytest.mark.slow
    def test_a_process_reads_what_others_cannot_see(self) -> None:
        variables = {**os.environ, "SOME_TOKEN": SECRET}
        done = subprocess.run([sys.executable, "-c", CODE], env=variables, capture_output=True, text=True, check=True)
        assert done.stdout == f"{SECRET} {SECRET} True\n"

    @pytest.mark.slow
    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_server_and_its_workers(self, tmp_path: Path, workers: int) -> None:
        variables = {"FLYTE_API_KEY": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, "FLYTEADMIN_MCP": "1"}
        ports = ("--mcp-port", "0", "--rest-adapter-port", "0")
        with serving(tmp_path / "home", "--workers", str(workers), *ports, variables=variables) as server:
            seen = processes_of(server.process.pid)
            assert len(seen) >= workers
            assert not [pid for pid in seen if SECRET in environment_of(pid)]


def processes_of(pid: int) -> list[int]:
    """A process and all below it."""
    below = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    return [pid, *(process for child in below for process in processes_of(int(child)))]


def environment_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return ""


def test_children_get_what_they_need_and_no_secret() -> None:
    environ = {
        "PATH": "/bin",
        "FLYTEADMIN_PORTABLE": "1",
        "HOME": "/home/me",
        "https_proxy": "http://me:pass-word@proxy:1",
        "PIP_INDEX_URL": "https://pip.example.org",
        "PIP_TOKEN": SECRET,
        "FLYTEADMIN_DATABASE_URL": f"postgresql://me:{SECRET}@host/db",
        "PYTHONPATH": f"/srv/{SECRET}",
    }
    assert sorted(own_environment.harmless(environ)) == ["FLYTEADMIN_PORTABLE", "HOME", "PATH", "PIP_INDEX_URL"]
    installers = ["FLYTEADMIN_PORTABLE", "HOME", "PATH", "PIP_INDEX_URL", "PIP_TOKEN", "https_proxy"]
    assert sorted(own_environment.of_installer(environ)) == installers


def test_what_was_taken_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYTE_API_KEY", SECRET)
    before = dict(os.environ)
    taken = own_environment.take()
    try:
        assert taken["FLYTE_API_KEY"] == SECRET
        assert "FLYTE_API_KEY" not in os.environ
        assert "PATH" in os.environ
    finally:
        os.environ.update(taken)
    assert dict(os.environ) == before
