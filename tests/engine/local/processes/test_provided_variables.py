"""A task gets access to the storage of the server, the secrets that it requests, and no other secret."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import identifier_pb2, security_pb2, tasks_pb2

from app.engine.local.processes.platform_access import PlatformAccess
from app.engine.local.processes.pool.process_pool import write_private
from app.engine.local.processes.provided_variables import ProvidedVariables
from app.engine.local.processes.storage_variables import storage_access
from app.engine.local.processes.task_attempt import CannotBuild, TaskAttempt
from app.engine.local.processes.task_secrets import secrets_of
from app.settings import load

FILE = security_pb2.Secret.MountType.FILE
ENVIRON = {
    "AWS_ACCESS_KEY_ID": "env-key",
    "AWS_SECRET_ACCESS_KEY": "env-secret",
    "AWS_SESSION_TOKEN": "env-token",
    "AWS_ENDPOINT_URL": "http://env:9000",
    "GOOGLE_APPLICATION_CREDENTIALS": "/keys/google.json",
    "AZURE_STORAGE_ACCOUNT_NAME": "env-account",
    "AZURE_STORAGE_ACCOUNT_KEY": "env-azure",
    "FLYTE_API_KEY": "other",
    "PGPASSWORD": "other",
}
CONNECTION = {"access-key": "k", "secret-key": "s", "auth-type": "accesskey", "endpoint": "host:1", "disable-ssl": True}


def settings(folder: Path, values: dict[str, Any]) -> Any:
    """Settings of a file with these sections."""
    import yaml

    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump({**values, "home": str(folder)}))
    return load([file], environ={}).settings


def attempt(folder: Path, task: tasks_pb2.TaskTemplate | None = None) -> TaskAttempt:
    return TaskAttempt(
        execution=identifier_pb2.WorkflowExecutionIdentifier(),
        workflow_name="w",
        task=task or tasks_pb2.TaskTemplate(),
        node_unique_id="n0",
        attempt=0,
        generated_name="pod",
        directory=folder,
        input_uri="",
        output_prefix="",
        raw_output_prefix="",
        checkpoint_prefix="",
    )


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ({}, {}),
        (
            {"url": "s3://b"},
            {
                "AWS_ACCESS_KEY_ID": "env-key",
                "AWS_SECRET_ACCESS_KEY": "env-secret",
                "AWS_SESSION_TOKEN": "env-token",
                "AWS_ENDPOINT_URL": "http://env:9000",
                "FLYTE_AWS_ENDPOINT": "http://env:9000",
            },
        ),
        (
            {"type": "minio", "container": "b", "connection": CONNECTION},
            {
                "FLYTE_AWS_ENDPOINT": "http://host:1",
                "FLYTE_AWS_ACCESS_KEY_ID": "k",
                "FLYTE_AWS_SECRET_ACCESS_KEY": "s",
            },
        ),
        (
            {"container": "b", "stow": {"kind": "s3", "config": {"access_key_id": "k", "secret_key": "s",
                                                                 "region": "eu-west-1"}}},
            {"FLYTE_AWS_ACCESS_KEY_ID": "k", "FLYTE_AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "eu-west-1"},
        ),
        ({"url": "gs://b"}, {"GOOGLE_APPLICATION_CREDENTIALS": "/keys/google.json"}),
        (
            {"container": "b", "stow": {"kind": "azure", "config": {"account": "a", "key": "s", "base_url": "http://h"}}},
            {
                "AZURE_STORAGE_ACCOUNT_NAME": "a",
                "AZURE_STORAGE_ACCOUNT_KEY": "s",
                "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=s;"
                                                   "BlobEndpoint=http://h",
            },
        ),
        ({"url": "az://b"}, {"AZURE_STORAGE_ACCOUNT_NAME": "env-account", "AZURE_STORAGE_ACCOUNT_KEY": "env-azure"}),
    ],
)  # fmt: skip
def test_tasks_reach_the_storage_as_the_server_does(
    tmp_path: Path, storage: dict[str, Any], expected: dict[str, str]
) -> None:
    given = storage_access(settings(tmp_path, {"storage": storage}), ENVIRON).variables
    assert {name: given.get(name) for name in expected} == expected
    assert "other" not in given.values()
    scheme = storage_access(settings(tmp_path, {"storage": storage}), {}).variables
    assert not {"env-key", "env-azure", "/keys/google.json"} & set(scheme.values())
    if not storage:
        assert not given


def test_a_google_key_of_the_settings_becomes_a_file_of_the_attempt(tmp_path: Path) -> None:
    storage = {"container": "b", "stow": {"kind": "google", "config": {"json": '{"type": "service_account"}'}}}
    made = ProvidedVariables(settings(tmp_path, {"storage": storage}), PlatformAccess(None), {})
    private = asyncio.run(made.private(attempt(tmp_path / "attempt"), {}))
    path = Path(private.variables["GOOGLE_APPLICATION_CREDENTIALS"])
    write_private(private.files)
    assert path.read_text() == '{"type": "service_account"}'
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.is_relative_to(tmp_path / "attempt" / "secrets")


def test_default_variables_of_upstreams_plugin_section(tmp_path: Path) -> None:
    plugins = {
        "k8s": {
            "default-env-vars": [{"FLYTE_AWS_ENDPOINT": "http://minio:9000"}, {"A": "1"}],
            "default-env-vars-from-env": [{"B": "SERVERS_B"}, {"C": "ABSENT"}],
        }
    }
    made = ProvidedVariables(settings(tmp_path, {"plugins": plugins}), PlatformAccess(None), {"SERVERS_B": "2"})
    found = {name: made.defaults.get(name) for name in ("FLYTE_AWS_ENDPOINT", "A", "B", "C")}
    assert found == {"FLYTE_AWS_ENDPOINT": "http://minio:9000", "A": "1", "B": "2", "C": None}


class TestSecrets:
    def task(self, **secret: Any) -> tasks_pb2.TaskTemplate:
        task = tasks_pb2.TaskTemplate()
        task.id.name = "t"
        task.security_context.secrets.add(**secret)
        return task

    @pytest.mark.parametrize(
        ("secret", "variable", "file"),
        [
            ({"group": "G", "key": "Key"}, "_FSEC_G_KEY", "g/key"),
            ({"group": "G", "group_version": "V2", "key": "Key"}, "_FSEC_G_V2_KEY", "g/v2/key"),
            ({"key": "Key"}, "_FSEC_KEY", "key"),
            ({"group": "G"}, "_FSEC_G", "g"),
        ],
    )
    @pytest.mark.parametrize("kept_in", ["variable", "file"])
    def test_names_are_flytekits(
        self, tmp_path: Path, secret: dict[str, str], variable: str, file: str, kept_in: str
    ) -> None:
        environ = {"FLYTE_SECRETS_DEFAULT_DIR": str(tmp_path)}
        if kept_in == "variable":
            environ[variable] = "value"
        else:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text("value\n")
        handed = secrets_of(self.task(**secret, env_var="MINE"), {}, environ, tmp_path / "own")
        assert (handed.variables, handed.files) == ({variable: "value", "MINE": "value"}, {})
        as_file = secrets_of(self.task(**secret, env_var="MINE", mount_requirement=FILE), {}, environ, tmp_path / "own")
        assert [str(path) for path in as_file.files] == [as_file.variables["MINE"]] == [str(tmp_path / "own" / file)]
        assert as_file.variables["FLYTE_SECRETS_DEFAULT_DIR"] == str(tmp_path / "own")
        assert variable not in as_file.variables

    @pytest.mark.parametrize(
        "variables", [{}, {"FLYTE_SECRETS_ENV_PREFIX": ""}, {"FLYTE_SECRETS_ENV_PREFIX": "FLYTE_"}]
    )
    def test_no_task_requests_another_variable_of_the_server(self, tmp_path: Path, variables: dict[str, str]) -> None:
        for environ in ({"FLYTE_API_KEY": "other"}, {"FLYTE_API_KEY": "other", "FLYTE_SECRETS_ENV_PREFIX": ""}):
            with pytest.raises(CannotBuild, match="SecretNotFound"):
                secrets_of(self.task(group="FLYTE", key="API_KEY"), variables, environ, tmp_path)
            with pytest.raises(CannotBuild, match="SecretNotFound"):
                secrets_of(self.task(group="API", key="KEY"), variables, environ, tmp_path)

    @pytest.mark.parametrize("key", ["../../etc/passwd", "..", "a/b", ""])
    def test_a_name_is_no_path(self, tmp_path: Path, key: str) -> None:
        with pytest.raises(CannotBuild, match="cannot be the name of a file"):
            secrets_of(self.task(key=key), {}, {}, tmp_path)

    def test_bytes_are_no_variable(self, tmp_path: Path) -> None:
        environ = {"FLYTE_SECRETS_DEFAULT_DIR": str(tmp_path)}
        (tmp_path / "k").write_bytes(b"\xff\x00")
        with pytest.raises(CannotBuild, match="mount_requirement FILE"):
            secrets_of(self.task(key="k"), {}, environ, tmp_path / "own")
        handed = secrets_of(self.task(key="k", mount_requirement=FILE), {}, environ, tmp_path / "own")
        assert handed.files == {tmp_path / "own" / "k": b"\xff\x00"}
