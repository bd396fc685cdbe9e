"""Secrets of tasks of a real server: the tasks have them, and nobody else can read them anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.engine.local.processes.secret_store import SecretName, SecretStore
from app.settings import Settings
from tests.engine.graphs.conftest import Plane

pytestmark = pytest.mark.slow

VALUE = "sehr-geheim-und-lang"


def files_with(folder: Path, text: bytes) -> Iterator[str]:
    for path in folder.rglob("*"):
        try:
            if path.is_file() and text in path.read_bytes():
                yield str(path.relative_to(folder))
        except OSError:
            # Temporary files come and go, and sockets cannot be read.
            continue


def processes_with(text: bytes) -> Iterator[str]:
    for part in ("cmdline", "environ"):
        for path in Path("/proc").glob(f"[0-9]*/{part}"):
            try:
                if text in path.read_bytes():
                    yield str(path)
            except OSError:
                continue


def test_secrets_are_in_the_tasks_alone(plane: Plane, tmp_path: Path) -> None:
    home, path = tmp_path / "home", tmp_path / "there"
    SecretStore(Settings.model_validate({"home": home})).set(SecretName.of("lab", "", "token"), VALUE.encode())
    with plane(home) as (server, remote):
        remote.script("register.py", "secretive")
        missing = remote.error(remote.launch("secretive.missing", {"path": "x"}))
        assert missing["code"] == "FailedToBuildResource"
        assert "[SecretNotFound] the secret with group [lab] and key [absent]" in missing["message"]
        assert missing["message"].endswith("flyteadmin secret set lab/absent")
        name = remote.launch("secretive.both", {"path": str(path)})
        for node in ("n0", "n1"):
            remote.until(lambda node=node: remote.tried(name, node) == [("RUNNING", "")], node)  # type: ignore[misc]
        assert not list(processes_with(VALUE.encode()))
        # A new interpreter removes the file with its variables at its start. The file that one of the tasks asked for
        # is in its private folder.
        remote.until(lambda: len(list(files_with(home, VALUE.encode()))) == 1, "one file")
        (file,) = files_with(home, VALUE.encode())
        assert file.endswith("/secrets/lab/token")
        assert (home / file).stat().st_mode & 0o777 == 0o600
        path.write_text("")
        digest = hashlib.sha256(VALUE.encode()).hexdigest()
        assert remote.outputs(name) == {"o0": digest, "o1": digest}
        assert not list(files_with(home, VALUE.encode()))
        assert VALUE not in server.printed
