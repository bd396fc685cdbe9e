"""The start of a server with authentication: each missing secret and wrong document ends it with upstream's text."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import limited_log
from app.auth import start_check
from app.auth.secrets_store import BYTES_MAX, SecretsStore
from app.settings import BadSetting, Settings
from tests.support.issuer import Issuer, running_issuer
from tests.support.tokens import auth_settings, pem, rsa_key


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    limited_log.clear()
    with running_issuer() as running:
        yield running


def key(bytes_: int) -> str:
    return base64.b64encode(b"k" * bytes_).decode().rstrip("=")


GOOD = {
    "token_rsa_key.pem": pem(rsa_key()),
    "cookie_hash_key": key(64),
    "cookie_block_key": key(32),
    "oidc_client_secret": "secret",
}


def check_secrets(folder: Path, files: dict[str, str], environ: dict[str, str], **auth: Any) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    settings = auth_settings(**auth).model_copy(
        update={"secrets": Settings.model_validate({"secrets": {"secrets_prefix": str(folder)}}).secrets}
    )
    start_check.check_secrets(settings, SecretsStore(settings, environ))


def test_all_secrets_are_there(tmp_path: Path) -> None:
    check_secrets(tmp_path, GOOD, {})


def test_secrets_of_the_environment_take_precedence(tmp_path: Path) -> None:
    check_secrets(tmp_path, {}, {f"FLYTE_SECRET_{name}": text for name, text in GOOD.items()})
    with pytest.raises(BadSetting, match="cookie_hash_key"):
        check_secrets(tmp_path, GOOD, {"FLYTE_SECRET_cookie_hash_key": ""})


def test_padding_and_line_breaks_of_keys_are_accepted(tmp_path: Path) -> None:
    padded = {name: text + "=" * (-len(text) % 4) + "\n" for name, text in GOOD.items() if name.startswith("c")}
    check_secrets(tmp_path, {**GOOD, **padded}, {})


HASH_KEY = "[CONFIG_OPTION_FILE_READ_FAILED] Could not read hash key file, caused by: "
MISSING = {
    "token_rsa_key.pem": "failed to read token signing RSA Key. Error: ",
    "cookie_hash_key": HASH_KEY,
    "cookie_block_key": HASH_KEY,
    "oidc_client_secret": "[AUTH_CONTEXT_SETUP_FAILED] Error creating OAuth2 library configuration, caused by: ",
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_secret_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadSetting) as raised:
        check_secrets(tmp_path, {one: text for one, text in GOOD.items() if one != name}, {})
    file, variable = tmp_path / name, f"FLYTE_SECRET_{name}"
    assert str(raised.value).startswith(f"{MISSING[name]}secrets not found - file [{file}], Env [{variable}]")
    assert "flyteadmin secret init" in str(raised.value)


@pytest.mark.parametrize("name", ["cookie_hash_key", "cookie_block_key"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (key(31), "has 31 bytes after base64 is decoded, wanted "),
        ("", "has 0 bytes after base64 is decoded, wanted "),
        ("!" * 43, "is no standard base64"),
        ("_-" * 21, "is no standard base64"),
        ("ü" * 43, "is no standard base64"),
        ("A", "is no standard base64"),
    ],
)
def test_an_unusable_key_is_named(tmp_path: Path, name: str, text: str, problem: str) -> None:
    with pytest.raises(BadSetting) as raised:
        check_secrets(tmp_path, {**GOOD, name: text}, {})
    assert f"secret {name} {problem}" in str(raised.value)
    assert len(text) < 10 or text not in str(raised.value)


def test_files_that_hold_no_secret(tmp_path: Path) -> None:
    (tmp_path / "cookie_hash_key").mkdir()
    with pytest.raises(BadSetting, match=r"secret cookie_hash_key in file .* cannot be read: .*Is a directory"):
        check_secrets(tmp_path, {name: text for name, text in GOOD.items() if name != "cookie_hash_key"}, {})
    (tmp_path / "cookie_hash_key").rmdir()
    with pytest.raises(BadSetting, match=f"has more than {BYTES_MAX} bytes"):
        check_secrets(tmp_path, {**GOOD, "cookie_hash_key": "A" * (BYTES_MAX + 1)}, {})
    (tmp_path / "oidc_client_secret").write_bytes(b"\xff")
    with pytest.raises(BadSetting, match="is no text in UTF-8"):
        check_secrets(tmp_path, {name: text for name, text in GOOD.items() if name != "oidc_client_secret"}, {})


def test_an_external_server_needs_no_signing_key(tmp_path: Path) -> None:
    rest = {name: text for name, text in GOOD.items() if name != "token_rsa_key.pem"}
    check_secrets(tmp_path, rest, {}, app_auth={"auth_server_type": "External"})


def test_the_file_of_the_client_secret_takes_precedence(tmp_path: Path) -> None:
    file = tmp_path / "client"
    file.write_text("from the file\n")
    settings = Settings.model_validate({"secrets": {"secrets_prefix": str(tmp_path)}})
    secrets = SecretsStore(settings, {"FLYTE_SECRET_oidc_client_secret": "of the environment\n"})
    assert secrets.client_secret("oidc_client_secret", str(file)) == "from the file"
    assert secrets.client_secret("oidc_client_secret", "") == "of the environment"
    with pytest.raises(BadSetting, match=r"auth\.userAuth\.openId\.clientSecretFile=/no/such cannot be read"):
        secrets.client_secret("oidc_client_secret", "/no/such")


def check_providers(base_url: str, *, external: dict[str, Any] | None = None, issuer_url: str = "") -> None:
    app_auth = {"auth_server_type": "External", "external_auth_server": external} if external is not None else {}
    open_id = {"base_url": base_url, "issuer_url": issuer_url}
    settings = auth_settings(user_auth={"open_id": open_id}, app_auth=app_auth, provider_timeout_seconds=2)
    asyncio.run(start_check.check_providers(settings))


def test_a_provider_that_answers(issuer: Issuer) -> None:
    check_providers(issuer.url)
    check_providers(issuer.url, external={})


def test_a_provider_that_does_not_answer_ends_the_start(issuer: Issuer) -> None:
    for base, problem in (
        ("http://127.0.0.1:1", 'Get "http://127.0.0.1:1/.well-known/openid-configuration": '),
        (issuer.url + "/x", "404 Not Found: nothing here"),
        ("", "auth.userAuth.openId.baseUrl is empty"),
    ):
        with pytest.raises(BadSetting) as raised:
            check_providers(base)
        start = f"[AUTH_CONTEXT_SETUP_FAILED] Error creating oidc provider w/ issuer [{base}], caused by: {problem}"
        assert str(raised.value).startswith(start)


def test_another_issuer_ends_the_start(issuer: Issuer) -> None:
    base = issuer.url.replace("127.0.0.1", "localhost")
    with pytest.raises(BadSetting) as raised:
        check_providers(base)
    assert str(raised.value).startswith(
        f"[AUTH_CONTEXT_SETUP_FAILED] Error creating oidc provider w/ issuer [{base}], caused by: oidc: issuer did not "
        f'match the issuer returned by provider, expected "{base}" got "{issuer.url}"; set '
    )
    check_providers(base, issuer_url=issuer.url)


def test_an_external_server_that_fails_ends_the_start(issuer: Issuer) -> None:
    issuer.replies["/x"] = (400, {}, b"")
    with pytest.raises(BadSetting) as raised:
        check_providers(issuer.url, external={"metadata_url": "/x", "retry_attempts": 0})
    assert str(raised.value).startswith(
        f"[AUTH_CONTEXT_SETUP_FAILED] Error reading the authorization server's metadata [{issuer.url}/x], caused by: "
        "failed to get oauth metadata with status code 400"
    )


def test_a_proxy_that_is_no_address_ends_the_start(issuer: Issuer) -> None:
    with pytest.raises(BadSetting, match=r"the proxy junk://user:\*{8}@x \(httpProxyURL\) cannot be used"):
        check_providers(issuer.url, external={"http_proxy_url": "junk://user:secret-one@x"})


def test_settings_with_which_authentication_works_in_part() -> None:
    found = start_check.warnings(auth_settings(authorized_uris=()))
    assert [text.partition(" ")[0] for text in found] == ["auth.userAuth.openId.clientId", "auth.authorizedUris"]
    assert start_check.warnings(auth_settings(user_auth={"open_id": {"client_id": "x"}})) == []
