"""Files of secrets: made once, for their owner alone, and accepted by the code that reads them."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import bcrypt
import pytest

from app.auth.keys import SigningKeys
from app.auth.secrets_store import SecretsStore
from app.server import secret_files
from app.settings import BadSetting, Settings, load

pytestmark = pytest.mark.heavy

NAMES = {
    "cookie_hash_key",
    "cookie_block_key",
    "claim_symmetric_key",
    "token_rsa_key.pem",
    "oidc_client_secret",
    "client_secret",
}


def settings_of(folder: Path, **more: str) -> Settings:
    return load((), None, {"FLYTEADMIN__SECRETS__SECRETSPREFIX": str(folder), **more}).settings


def test_every_secret_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "secrets"
    written = secret_files.write(folder, settings_of(folder))
    assert {one.file.name for one in written} == NAMES
    assert {one.done for one in written} == {"made"}
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert {file.name for file in folder.iterdir()} == NAMES


def test_the_code_that_reads_secrets_accepts_them(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    secret_files.write(tmp_path, settings)
    store = SecretsStore(settings, {})
    assert len(store.key("cookie_hash_key", bytes_wanted=64)) == 64
    assert len(store.key("cookie_block_key", bytes_wanted=32)) == 32
    assert len(store.key("claim_symmetric_key", bytes_wanted=32)) == 32
    assert len(SigningKeys.load(settings, store).jwks()["keys"]) == 1
    assert (tmp_path / "token_rsa_key.pem").read_text().startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert "=" not in (tmp_path / "cookie_hash_key").read_text()


def test_files_that_exist_are_kept_unless_forced(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    secret_files.write(tmp_path, settings)
    (tmp_path / "cookie_hash_key").unlink()
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    done = {one.file.name: one.done for one in secret_files.write(tmp_path, settings)}
    assert done == {**dict.fromkeys(NAMES, "kept"), "cookie_hash_key": "made"}
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    secret_files.write(tmp_path, settings, force=True)
    unchanged = {name for name in before if (tmp_path / name).read_bytes() == before[name]}
    assert unchanged == {"oidc_client_secret"}


def test_rotation_keeps_the_present_key_as_the_old_one(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    secret_files.write(tmp_path, settings)
    before = SigningKeys.load(settings, SecretsStore(settings, {})).key_id
    others = {file.name: file.read_bytes() for file in tmp_path.iterdir() if "rsa" not in file.name}
    secret_files.rotate(tmp_path, settings)
    keys = SigningKeys.load(settings, SecretsStore(settings, {}))
    assert [key["kid"] for key in keys.jwks()["keys"]] == [keys.key_id, before]
    assert keys.key_id != before
    assert {name: (tmp_path / name).read_bytes() for name in others} == others


def test_rotation_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="secret init"):
        secret_files.rotate(tmp_path, settings_of(tmp_path))
    assert not list(tmp_path.iterdir())


def test_names_of_the_settings_are_used(tmp_path: Path) -> None:
    name = "FLYTEADMIN__AUTH__USERAUTH__COOKIEHASHKEYSECRETNAME"
    written = secret_files.write(tmp_path, settings_of(tmp_path, **{name: "another"}))
    assert {one.file.name for one in written} == NAMES - {"cookie_hash_key"} | {"another"}


def test_the_printed_settings_have_the_clients_and_the_hash_of_the_secret(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    secret_files.write(tmp_path, settings)
    values = secret_files.settings_for(
        tmp_path, settings, url="https://flyte.example", issuer="https://idp.example", client_id="flyte"
    )
    loaded = load((), values, {}).settings
    assert loaded.server.security.use_auth
    assert not loaded.server.security.insecure_cookie_header
    assert loaded.auth.authorized_uris == ("https://flyte.example",)
    assert loaded.auth.user_auth.open_id.base_url == "https://idp.example"
    clients = loaded.auth.app_auth.self_auth_server.static_clients
    assert set(clients) == {"flyte-cli", "flytectl", "flytepropeller"}
    for name, client in clients.items():
        default = settings.auth.app_auth.self_auth_server.static_clients[name]
        assert client.model_copy(update={"client_secret": default.client_secret}) == default
    hashed = base64.b64decode(clients["flytepropeller"].client_secret.get_secret_value(), validate=True)
    assert bcrypt.checkpw((tmp_path / "client_secret").read_bytes(), hashed)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetting, match="file/secrets cannot be used for secrets"):
        secret_files.write(tmp_path / "file" / "secrets", settings_of(tmp_path))
