"""A certificate authority of this machine, for `flyteadmin serve --tls`: made once, below the home folder.

tls/ca.pem         the authority's certificate; clients trust the server by it
tls/ca-key.pem     its private key
tls/server.pem     the server's certificate; made again before it expires, or for other names
tls/server-key.pem its private key
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.server import private_files
from app.server.certificates import dns_names
from app.settings import BadSetting, Settings
from app.settings.hosts import host_of, is_ip

FOLDER = "tls"
AUTHORITY_DAYS, SERVER_DAYS = 3650, 90
# A certificate with less time left is made again.
AUTHORITY_RENEWAL_DAYS, SERVER_RENEWAL_DAYS = 180, 30
# The clock of a client may be behind by this much.
_BACKDATED = timedelta(hours=1)
# Subjects have at most 64 characters (RFC 5280).
_SUBJECT_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class Files:
    """The files of the authority and of the server's certificate."""

    folder: Path

    @property
    def authority(self) -> Path:
        """Return the path of the authority's certificate."""
        return self.folder / "ca.pem"

    @property
    def authority_key(self) -> Path:
        """Return the path of the authority's private key."""
        return self.folder / "ca-key.pem"

    @property
    def certificate(self) -> Path:
        """Return the path of the server's certificate."""
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        """Return the path of the server's private key."""
        return self.folder / "server-key.pem"


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def files_of(settings: Settings) -> Files:
    """Return the paths below the home folder."""
    return Files(settings.home_path / FOLDER)


def use(settings: Settings) -> Settings:
    """Return the settings with the files of the local authority, made where they are missing or due.

    Raises:
        BadSetting: The files cannot be written.
    """
    files = ensure(settings)
    security = settings.server.security
    ssl = security.ssl.model_copy(update={"certificate_file": str(files.certificate), "key_file": str(files.key)})
    server = settings.server.model_copy(update={"security": security.model_copy(update={"ssl": ssl})})
    return settings.model_copy(update={"server": server})


def ensure(settings: Settings, now: datetime | None = None) -> Files:
    """Make the files that are missing or unusable, or whose certificates expire soon. The authority's key stays.

    Args:
        settings: The home folder, and the hosts to name in the certificate.
        now: The time from which the certificates are valid, by default this moment.

    Raises:
        BadSetting: The files cannot be written.
    """
    files, now = files_of(settings), now or datetime.now(UTC)
    try:
        files.folder.mkdir(mode=0o700, exist_ok=True)
        with _locked(files.folder):
            authority = _read(files.authority, files.authority_key)
            if authority is None or _days_left(authority, now) < AUTHORITY_RENEWAL_DAYS:
                authority = _make_authority(now)
                _write_pair(files.authority, files.authority_key, authority)
            server, hosts = _read(files.certificate, files.key), hosts_of(settings)
            if server is None or not _serves(server, authority, hosts, now):
                _write_pair(files.certificate, files.key, _make_server(authority, hosts, now))
    except OSError as error:
        raise BadSetting(f"the certificates in {files.folder} cannot be made ({error.strerror or error})") from error
    return files


def hosts_of(settings: Settings) -> tuple[str, ...]:
    """Return the names and addresses by which clients may call this server, localhost first."""
    server = settings.server
    own = (server.host, server.public_url, *settings.auth.authorized_uris, *server.security.allowed_hosts)
    hosts = ["localhost", "127.0.0.1", "::1", socket.gethostname().lower(), *filter(None, map(host_of, own))]
    unspecified = {"*", "", "0.0.0.0", "::"}  # nosec B104 # compared, not bound
    return tuple(dict.fromkeys(host for host in hosts if host not in unspecified))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time write the files: every worker renews the certificate."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(certificate: Path, key: Path) -> _Pair | None:
    """Return what the files hold; None where one is missing or unusable, or where they do not belong together."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != found.public_key():
        return None
    return _Pair(found, private)


def _serves(server: _Pair, authority: _Pair, hosts: Iterable[str], now: datetime) -> bool:
    """Return whether the certificate is of this authority, lasts for a while, and names the hosts."""
    try:
        server.certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    alternatives = server.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    named = {*dns_names(server.certificate), *map(str, alternatives.get_values_for_type(x509.IPAddress))}
    return named == {_host(one) for one in hosts} and _days_left(server, now) >= SERVER_RENEWAL_DAYS


def _host(host: str) -> str:
    return str(_address(host)) if is_ip(host) else host


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    # The short and hexadecimal forms of IPv4, which is_ip accepts, are unknown to ipaddress.
    return ipaddress.ip_address(host if ":" in host else socket.inet_aton(host))


def _days_left(pair: _Pair, now: datetime) -> float:
    return (pair.certificate.not_valid_after_utc - now) / timedelta(days=1)


def _make_authority(now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"flyteadmin local authority on {socket.gethostname()}")
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    return _Pair(builder.sign(key, hashes.SHA256()), key)


def _make_server(authority: _Pair, hosts: tuple[str, ...], now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    names = [x509.IPAddress(_address(host)) if is_ip(host) else x509.DNSName(host) for host in hosts]
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = _builder(_name(hosts[0]), issuer.subject, key.public_key(), now, SERVER_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    return _Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _BACKDATED).not_valid_after(now + timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_SUBJECT_LENGTH_MAX])])


def _usage(**allowed: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    others = ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in (*names, *others)})


def _write_pair(certificate: Path, key: Path, pair: _Pair) -> None:
    private = pair.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    private_files.replace(key, private)
    private_files.replace(certificate, pair.certificate.public_bytes(serialization.Encoding.PEM), 0o644)
