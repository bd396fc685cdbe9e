"""Secrets in the home folder: set by a command, encrypted, read for the tasks that request them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keyring
import pytest
from flyteidl.core import tasks_pb2
from typer.testing import CliRunner, Result

from app.cli import main as cli
from app.engine.local.processes.secret_store import Keyring, SecretName, SecretStore
from app.engine.local.processes.task_attempt import CannotBuild
from app.engine.local.processes.task_secrets import secrets_of
from app.settings import BadSetting, Settings

pytestmark = pytest.mark.heavy

VALUE = "geheim-und-lang"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLYTEADMIN_HOME", str(tmp_path))
    return tmp_path


def command(*args: str, value: str = "") -> Result:
    return CliRunner().invoke(cli.app, ["secret", *args], input=value)


def store(home: Path) -> SecretStore:
    return SecretStore(Settings.model_validate({"home": home}))


def a_task(**secret: Any) -> tasks_pb2.TaskTemplate:
    task = tasks_pb2.TaskTemplate()
    task.id.name = "t"
    task.security_context.secrets.add(**secret)
    return task


def test_a_secret_is_set_from_stdin_listed_without_value_and_deleted(home: Path) -> None:
    assert command("set", "Group/KEY", value=f"{VALUE}\n").exit_code == 0
    assert command("set", "single", "--group-version", "V2", value=VALUE).exit_code == 0
    listed = command("list").output
    assert "group  key\n" in listed
    assert "-  single  version v2" in listed
    assert VALUE not in listed
    names = json.loads(command("list", "-o", "json").stdout)
    assert {tuple(one.values()) for one in names} == {("group", "key", ""), ("", "single", "v2")}
    assert store(home).get(SecretName.of("GROUP", "", "key")) == VALUE.encode()
    folder = home / "task-secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        assert VALUE.encode() not in file.read_bytes()
    assert command("delete", "group/key").exit_code == 0
    assert store(home).get(SecretName.of("group", "", "key")) is None
    absent = command("delete", "group/key")
    assert (absent.exit_code, "there is no secret group/key" in absent.output) == (1, True)


@pytest.mark.parametrize(("name", "value"), [("a/b/c", VALUE), ("a/", VALUE), ("a", "")])
def test_a_bad_name_or_an_empty_value_is_refused(home: Path, name: str, value: str) -> None:
    assert command("set", name, value=value).exit_code == 1
    assert not (home / "task-secrets").exists()


def test_another_key_or_a_missing_one_is_explained(home: Path) -> None:
    name = SecretName.of("", "", "k")
    store(home).set(name, b"v")
    key = home / "task-secrets" / "key"
    other = home / "other"
    SecretStore(Settings.model_validate({"home": other})).set(name, b"v")
    key.write_bytes((other / "task-secrets" / "key").read_bytes())
    with pytest.raises(BadSetting, match="encrypted with another key"):
        store(home).get(name)
    key.unlink()
    with pytest.raises(BadSetting, match=r"the key of the secrets, .* cannot be used"):
        store(home).get(name)
    # A new key would make the other values unreadable.
    with pytest.raises(BadSetting, match="cannot be used"):
        store(home).set(name, b"w")


def test_tasks_get_it_in_the_form_that_they_request(home: Path) -> None:
    store(home).set(SecretName.of("g", "", "k"), VALUE.encode())
    given = secrets_of(a_task(group="G", key="K"), {}, {}, home / "own", [store(home).get])
    assert (given.variables, given.files) == ({"_FSEC_G_K": VALUE}, {})
    as_file = secrets_of(a_task(group="G", key="K", mount_requirement=2), {}, {}, home / "own", [store(home).get])
    assert as_file.files == {home / "own" / "g" / "k": VALUE.encode()}
    with pytest.raises(CannotBuild, match=r"group \[G\] and key \[other\] .*: flyteadmin secret set G/other$"):
        secrets_of(a_task(group="G", key="other"), {}, {}, home / "own", [store(home).get])


def test_the_keyring_of_the_system_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {("flyteadmin", "g/v1/k"): VALUE}
    backend = SimpleNamespace(get_password=lambda service, user: kept.get((service, user)))
    monkeypatch.setattr(keyring, "get_password", backend.get_password)
    assert Keyring("flyteadmin").get(SecretName.of("G", "V1", "K")) == VALUE.encode()
    assert Keyring("flyteadmin").get(SecretName.of("G", "", "K")) is None
    assert Keyring("").get(SecretName.of("G", "V1", "K")) is None
