"""Tasks reach the server by the name that its certificate has, and trust the authority that it comes from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from app.engine.local.processes.platform_address import platform_variables
from app.settings import BadSetting, Settings

Pair = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]
PUBLIC = "https://flyte.example.com"


def _issue(name: str, *names: str, by: Pair | None = None) -> Pair:
    """A certificate with these DNS names, self-signed without an issuer."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(by[1].subject if by else subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
        builder = builder.add_extension(alternatives, critical=False)
    return key, builder.sign(by[0] if by else key, SHA256())


def _settings(home: Path, file: Path, **auth: object) -> Settings:
    security = {"secure": True, "ssl": {"certificate_file": str(file)}}
    return Settings.model_validate({"home": home, "server": {"http_port": 4, "security": security}, "auth": auth})


def test_without_tls() -> None:
    settings = Settings.model_validate({"server": {"http_port": 4}})
    assert platform_variables(settings, {}) == {
        "FLYTE_PLATFORM_URL": "localhost:4",
        "FLYTE_PLATFORM_INSECURE": "true",
    }


@pytest.mark.parametrize(
    ("names", "uris", "address"),
    [
        (("flyte.example.com", "localhost"), (PUBLIC,), "localhost:4"),
        (("flyte.example.com",), (PUBLIC,), "flyte.example.com:443"),
        (("flyte.example.com",), ("http://localhost:4", f"{PUBLIC}:8443"), "flyte.example.com:8443"),
        (("flyte.example.com",), ("https://[::1]:8443",), "[::1]:8443"),
        (("flyte.example.com",), (), "localhost:4"),
        ((), (PUBLIC,), "flyte.example.com:443"),
    ],
)
def test_the_address_is_one_that_the_certificate_names(
    tmp_path: Path, names: tuple[str, ...], uris: tuple[str, ...], address: str
) -> None:
    file = tmp_path / "chain.pem"
    file.write_bytes(_issue("server", *names)[1].public_bytes(Encoding.PEM))
    found = platform_variables(_settings(tmp_path, file, authorized_uris=uris), {})
    assert (found["FLYTE_PLATFORM_URL"], found["FLYTE_PLATFORM_INSECURE"]) == (address, "false")


@pytest.mark.parametrize(
    ("whole_chain", "environ", "expected"),
    [
        (True, {}, "chain.pem"),
        (False, {}, None),
        (False, {"SSL_CERT_FILE": "/etc/ca.pem"}, "/etc/ca.pem"),
    ],
)
def test_the_authority(tmp_path: Path, whole_chain: bool, environ: dict[str, str], expected: str | None) -> None:
    file, authority = tmp_path / "chain.pem", _issue("authority")
    chain = [_issue("server", "localhost", by=authority), *([authority] if whole_chain else [])]
    file.write_bytes(b"".join(one[1].public_bytes(Encoding.PEM) for one in chain))
    found = platform_variables(_settings(tmp_path, file), environ).get("FLYTE_PLATFORM_CA_CERT_FILE_PATH")
    assert found == (str(file) if expected == "chain.pem" else expected)


def test_the_authority_of_this_machine(tmp_path: Path) -> None:
    authority, folder = _issue("authority"), tmp_path / "tls"
    folder.mkdir()
    file = folder / "server.pem"
    file.write_bytes(_issue("server", "localhost", by=authority)[1].public_bytes(Encoding.PEM))
    found = platform_variables(_settings(tmp_path, file), {})
    assert found["FLYTE_PLATFORM_CA_CERT_FILE_PATH"] == str(folder / "ca.pem")


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_certificate_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "chain.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadSetting, match=r"server\.security\.ssl\.certificateFile="):
        platform_variables(_settings(tmp_path, file), {})
