"""The authority of this machine: made once, its certificates renewed in time, keys for their owner alone."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from app.server import certificates, local_authority
from app.settings import BadSetting, Settings, load


def settings_of(tmp_path: Path, **more: str) -> Settings:
    (tmp_path / "home").mkdir(exist_ok=True)
    environ = {"FLYTEADMIN_HOME": str(tmp_path / "home")}
    return load((), None, environ | {f"FLYTEADMIN__{key}": value for key, value in more.items()}).settings


def contents(settings: Settings) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in local_authority.files_of(settings).folder.iterdir()}


def test_files_are_made_once_and_private_keys_belong_to_their_owner(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    files = local_authority.ensure(settings)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files.folder.iterdir()}
    assert modes == {"ca.pem": 0o644, "ca-key.pem": 0o600, "server.pem": 0o644, "server-key.pem": 0o600}
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
    before = contents(settings)
    local_authority.ensure(settings)
    assert contents(settings) == before


def test_the_certificate_names_every_host_of_the_settings(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        SERVER__PUBLICURL="https://Flyte.example:8443/x",
        SERVER__HOST="10.0.0.5",
        SERVER__SECURITY__ALLOWEDHOSTS="other.example,*",
        AUTH__AUTHORIZEDURIS="https://third.example",
    )
    used = local_authority.use(settings)
    pair = certificates.check(used.model_copy())
    assert pair is None
    pair = certificates.read(used.server.security.ssl)
    assert {"localhost", "flyte.example", "other.example", "third.example"} <= pair.host_names
    certificate = x509.load_pem_x509_certificate(local_authority.files_of(settings).certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"127.0.0.1", "::1", "10.0.0.5"} <= set(map(str, names.get_values_for_type(x509.IPAddress)))


@pytest.mark.parametrize(
    ("days_later", "new"),
    [
        (59, set()),
        (61, {"server.pem", "server-key.pem"}),
        (3500, {"server.pem", "server-key.pem", "ca.pem", "ca-key.pem"}),
    ],
)
def test_certificates_are_renewed_before_they_expire(tmp_path: Path, days_later: int, new: set[str]) -> None:
    settings = settings_of(tmp_path)
    local_authority.ensure(settings)
    before = contents(settings)
    local_authority.ensure(settings, datetime.now(UTC) + timedelta(days=days_later))
    after = contents(settings)
    assert {name for name in after if after[name] != before[name]} == new


def test_another_host_makes_another_certificate_of_the_same_authority(tmp_path: Path) -> None:
    local_authority.ensure(settings_of(tmp_path))
    before = contents(settings_of(tmp_path))
    settings = settings_of(tmp_path, SERVER__SECURITY__ALLOWEDHOSTS="flyte.example")
    local_authority.ensure(settings)
    after = contents(settings)
    assert before["ca.pem"] == after["ca.pem"]
    assert before["server.pem"] != after["server.pem"]


@pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem"])
@pytest.mark.parametrize("damage", [None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_damaged_files_are_made_again(tmp_path: Path, name: str, damage: bytes | None) -> None:
    settings = settings_of(tmp_path)
    file = local_authority.ensure(settings).folder / name
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    used = local_authority.use(settings)
    certificates.read(used.server.security.ssl)
    context = ssl.create_default_context(cafile=str(local_authority.files_of(settings).authority))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert context.get_ca_certs()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    (tmp_path / "home" / "tls").write_text("a file in its place")
    with pytest.raises(BadSetting, match=r"home/tls cannot be made"):
        local_authority.ensure(settings)
