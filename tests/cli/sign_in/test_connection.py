"""Which server a command calls, and with which credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.sign_in import connection
from app.settings import BadSetting
from tests.cli.api import Api


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_without_any_configuration(api: Api) -> None:
    found = connection.find()
    assert (found.url, found.source, found.kind) == ("http://localhost:30080", "the default", "pkce")


def test_the_order_of_the_places(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "home" / "config.yaml", "admin: {endpoint: 'dns:///localhost:1', insecure: true}")
    assert connection.find().url == "http://localhost:1"
    write(tmp_path / ".flyte" / "config.yaml", "admin: {endpoint: 'dns:///flyte.example.com'}")
    assert connection.find().url == "https://flyte.example.com"
    monkeypatch.setattr("app.server.home.holder", lambda _: 17)
    assert connection.find().url == "http://localhost:1"
    named = write(tmp_path / "other.yaml", "admin: {endpoint: 'dns:///other:81', insecure: true}")
    monkeypatch.setenv("FLYTECTL_CONFIG", str(named))
    assert connection.find().url == "http://other:81"
    monkeypatch.setenv("FLYTE_PLATFORM_URL", "dns:///variable:82")
    monkeypatch.setenv("FLYTE_PLATFORM_INSECURE", "true")
    assert connection.find().url == "http://variable:82"
    assert connection.find("https://flag:83").url == "https://flag:83"


def test_credentials_of_the_file_and_of_variables(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = write(tmp_path / "secret", "s3cret\n")
    file = write(
        tmp_path / "c.yaml",
        f"""
admin: {{endpoint: 'dns:///f.example.com:443', authType: ClientSecret, clientId: robot, scopes: [all],
  clientSecretLocation: {secret}, caCertFilePath: /ca.pem, insecureSkipVerify: false}}
task: {{project: p, domain: d}}
""",
    )
    monkeypatch.setenv("FLYTECTL_CONFIG", str(file))
    found = connection.find()
    assert (found.kind, found.client_id, found.client_secret) == ("clientsecret", "robot", "s3cret")
    assert (found.scopes, found.ca_file, found.project, found.domain) == (("all",), "/ca.pem", "p", "d")
    monkeypatch.setenv("FLYTE_CREDENTIALS_CLIENT_ID", "other")
    monkeypatch.setenv("FLYTE_CREDENTIALS_CLIENT_SECRET", "from the variable")
    assert (connection.find().client_id, connection.find().client_secret) == ("other", "from the variable")


def test_the_secret_of_a_file_is_not_sent_to_another_server(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "c.yaml", "admin: {endpoint: 'dns:///a.example.com', authType: ClientSecret, command: [x]}")
    monkeypatch.setenv("FLYTECTL_CONFIG", str(file))
    assert connection.find("https://a.example.com").kind == "clientsecret"
    assert connection.find("https://b.example.com").kind == "pkce"
    assert connection.find("https://b.example.com").values == {}


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("admin: {endpoint: 'ftp://x'}", "is no address of a server; allowed: http://host:port"),
        ("admin: {endpoint: 'http://u:hunter2@x'}", "is no address of a server"),
        ("admin: {endpoint: 'dns:///x:99999'}", "is no address of a server"),
        ("admin: [", "is no YAML"),
        ("- admin", "has no section `admin`"),
        ("admin: {endpoint: x, authType: Magic}", "admin.authType=magic is not known; allowed: Pkce"),
        ("admin: {endpoint: x, clientSecretLocation: /nope}", "correct admin.clientSecretLocation"),
    ],
)
def test_a_file_that_cannot_be_used(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, advice: str
) -> None:
    monkeypatch.setenv("FLYTECTL_CONFIG", str(write(tmp_path / "c.yaml", text)))
    with pytest.raises(BadSetting) as refused:
        connection.find()
    assert advice in str(refused.value)
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("FLYTECTL_CONFIG", "/nowhere")
    with pytest.raises(BadSetting, match="name a file, or remove the variable"):
        connection.find()
