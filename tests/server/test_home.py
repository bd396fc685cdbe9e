"""The home folder: whose it is, what clients find in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.server import home
from app.settings import BadSetting, Settings


@pytest.mark.slow
def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from app.server import home;"
        f"home.lock(Path({str(tmp_path)!r})); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BadSetting, match=f"process {holder.pid}"):
            home.lock(tmp_path)
        holder.kill()
    held = home.lock(tmp_path)
    assert (tmp_path / "server.lock").read_text() == f"{os.getpid()}\n"
    held.release()
    home.lock(tmp_path).release()


def test_preparing_changes_nothing_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "home"
    home.prepare(path)
    (path / "storage" / "kept").write_text("x")
    path.chmod(0o755)
    home.prepare(path)
    assert (path / "storage" / "kept").read_text() == "x"
    assert path.stat().st_mode & 0o777 == 0o755
    assert {entry.name for entry in path.iterdir()} == set(home.FOLDERS)


def client_config(settings: Settings) -> dict[str, object]:
    home.prepare(settings.home_path)
    content: dict[str, object] = yaml.safe_load(home.write_client_config(settings).read_text())
    return content


def test_clients_find_the_port_and_no_keys(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "home": tmp_path,
            "server": {"http_port": 8088},
            "storage": {
                "url": "s3://bucket",
                "connection": {"endpoint": "http://s3:9000", "access_key": "hunter1", "secret_key": "hunter2"},
            },
        }
    )
    assert client_config(settings) == {
        "admin": {"endpoint": "dns:///localhost:8088", "insecure": True},
        "storage": {"connection": {"endpoint": "http://s3:9000", "region": "us-east-1"}},
    }


def test_the_client_configuration_follows_the_port_until_it_is_somebodys_own(tmp_path: Path) -> None:
    def at(port: int) -> object:
        return client_config(Settings.model_validate({"home": tmp_path, "server": {"http_port": port}}))["admin"]

    assert at(1) == {"endpoint": "dns:///localhost:1", "insecure": True}
    assert at(2) == {"endpoint": "dns:///localhost:2", "insecure": True}
    (tmp_path / "config.yaml").write_text("admin: mine")
    assert at(3) == "mine"
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []
