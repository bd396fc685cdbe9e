"""Certificate and key: read, checked, and refused with the name of the file and the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from app.server import certificates
from app.settings import BadSetting, Settings, load
from app.settings.server import Ssl
from tests.support.certificates import Authority, key_pem, write_pair

AUTHORITY = Authority()
OWN, OTHER = AUTHORITY.issue("flyte.example", "*.Flyte.example"), AUTHORITY.issue("other.example")


def ssl_of(folder: Path, pair: tuple[bytes, bytes] = OWN, **more: object) -> Ssl:
    certificate, key = write_pair(folder, pair)
    return Ssl.model_validate({"certificate_file": str(certificate), "key_file": str(key), **more})


def test_names_and_expiry_are_those_of_the_first_certificate(tmp_path: Path) -> None:
    pair = certificates.read(ssl_of(tmp_path, (OWN[0] + AUTHORITY.pem, OWN[1])))
    assert pair.names == ("flyte.example", "*.flyte.example")
    assert pair.host_names == {"flyte.example"}
    assert 364 < pair.days_left(datetime.now(UTC)) < 366


def encrypted() -> bytes:
    key = serialization.load_pem_private_key(OWN[1], None)
    return key_pem(key, b"a passphrase")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ((OWN[0], OTHER[1]), "server-key.pem is not the key of the certificate in .*server.pem"),
        (
            (AUTHORITY.pem + OWN[0], OWN[1]),
            "server.pem has the server's own certificate in place 2; it must be the first",
        ),
        ((OWN[0], OWN[0]), "server-key.pem holds no private key in PEM form"),
        ((OWN[0], encrypted()), "server-key.pem is encrypted with a passphrase"),
        ((OWN[1], OWN[1]), "server.pem holds no certificate in PEM form"),
        ((b"", OWN[1]), "server.pem holds no certificate in PEM form"),
        ((b"\x30\x82" + bytes(range(256)), OWN[1]), "server.pem holds no certificate in PEM form"),
        ((OWN[0], b""), "server-key.pem holds no private key in PEM form"),
        ((OWN[0][:200], OWN[1]), "server.pem holds no certificate in PEM form"),
        (AUTHORITY.issue("a", days=-1), r"server.pem expired at \d{4}-\d\d-\d\d \d\d:\d\d UTC"),
        (AUTHORITY.issue("a", begins_in_days=2), r"server.pem is not valid before .* UTC; check the clock"),
        ((b"x" * (certificates.FILE_BYTES_MAX + 1), OWN[1]), "server.pem has more than 4194304 bytes"),
    ],
)
def test_unusable_files_are_named_with_the_reason(tmp_path: Path, pair: tuple[bytes, bytes], reason: str) -> None:
    with pytest.raises(BadSetting, match=rf"^server\.security\.ssl\.\w+: the file .*{reason}") as refused:
        certificates.read(ssl_of(tmp_path, pair))
    assert "PRIVATE" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: {"certificate_file": ""}, "needs server.security.ssl.certificateFile"),
        (lambda folder: {"key_file": ""}, "needs server.security.ssl.keyFile"),
        (lambda folder: {"key_file": f"{folder}/none"}, r"keyFile: the file .*/none cannot be read \(No such file"),
        (lambda folder: {"certificate_file": str(folder)}, r"certificateFile: .* cannot be read \(Is a directory"),
        (lambda folder: {"client_ca_file": f"{folder}/server-key.pem"}, "clientCaFile: .* holds no certificate"),
    ],
)
def test_missing_files_are_named(tmp_path: Path, change: Callable[[Path], dict[str, str]], reason: str) -> None:
    ssl_of(tmp_path)
    with pytest.raises(BadSetting, match=reason):
        certificates.read(ssl_of(tmp_path, **change(tmp_path)))


def settings_of(**more: str) -> Settings:
    return load((), None, {f"FLYTEADMIN__SERVER__{key}": value for key, value in more.items()}).settings


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(BadSetting, match="--tls"):
        certificates.check(
            settings_of(SECURITY__SECURE="1", SECURITY__SSL__CERTIFICATEFILE="/x", SECURITY__SSL__LOCALAUTHORITY="1")
        )
    with pytest.raises(BadSetting, match="minVersion"):
        certificates.check(settings_of(SECURITY__SECURE="1", HTTP="httptools", SECURITY__SSL__MINVERSION="1.3"))
    assert certificates.check(settings_of(SECURITY__SSL__CERTIFICATEFILE="/nothing/there")) is None


@pytest.mark.parametrize(("days", "expected"), [(30, ""), (10.1, re.compile("expires in 10 days, at .* UTC"))])
def test_a_certificate_that_expires_soon_gets_a_warning(
    tmp_path: Path, days: float, expected: str | re.Pattern[str]
) -> None:
    ssl = ssl_of(tmp_path, AUTHORITY.issue("a", days=days))
    warning = certificates.expiry_warning(certificates.read(ssl), ssl)
    assert warning == expected if isinstance(expected, str) else expected.search(warning)


def test_the_signature_changes_with_the_files(tmp_path: Path) -> None:
    ssl = ssl_of(tmp_path)
    before = certificates.signature(ssl)
    assert certificates.signature(ssl) == before
    # Kubernetes replaces a link, whose target has another inode.
    (tmp_path / "new.pem").write_bytes(OWN[0])
    (tmp_path / "new.pem").replace(tmp_path / "server.pem")
    assert certificates.signature(ssl) != before
    (tmp_path / "server.pem").unlink()
    assert (str(tmp_path / "server.pem"), 0, 0, 0) in certificates.signature(ssl)
