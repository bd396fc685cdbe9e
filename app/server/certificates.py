"""Certificate and private key of this server: read from their files and checked, with errors that name the file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from app.settings import BadSetting, Settings
from app.settings.server import Ssl

# A certificate chain with its key takes less than 20 kB; bundles of authorities take up to 300 kB.
FILE_BYTES_MAX = 4 * 1024 * 1024
_CERTIFICATE_KEY = "server.security.ssl.certificateFile"
_PRIVATE_KEY = "server.security.ssl.keyFile"
_CLIENT_CA_KEY = "server.security.ssl.clientCaFile"

# Path, time of modification, size and inode of each file.
Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The contents of the files of the section `server.security.ssl`, checked.

    Attributes:
        chain: The certificates, PEM.
        key: The private key, PEM.
        client_ca: The authorities of clients, PEM; b"" where clients are not asked for a certificate.
        names: The DNS names of the server's certificate, in lower case.
        expires_at: The end of the validity of the server's certificate.
    """

    chain: bytes
    key: bytes
    client_ca: bytes
    names: tuple[str, ...]
    expires_at: datetime

    @property
    def host_names(self) -> frozenset[str]:
        """Return the names without `*`: only a whole name proves that it is this server's own."""
        return frozenset(name for name in self.names if "*" not in name)

    def days_left(self, now: datetime) -> float:
        """Return the days until the certificate expires, negative after that."""
        return (self.expires_at - now) / timedelta(days=1)


def check(settings: Settings) -> KeyPair | None:
    """Check the settings of TLS. Return the key pair of the files; None without TLS, or with a local authority.

    Raises:
        BadSetting: A file is missing, unreadable, or not usable; the message names the setting, the file, the reason.
    """
    if not settings.server.security.secure:
        return None
    ssl = settings.server.security.ssl
    if ssl.local_authority and (ssl.certificate_file or ssl.key_file):
        raise BadSetting(
            "server.security.ssl.localAuthority (--tls) makes a certificate, and server.security.ssl.certificateFile "
            "or keyFile names another; set server.security.secure=true without --tls to use the files"
        )
    if settings.server.http == "httptools" and ssl.min_version != "1.2":
        raise BadSetting(
            f"server.security.ssl.minVersion={ssl.min_version} and server.http=httptools: the gRPC server of httptools "
            "cannot refuse TLS 1.2; allowed: minVersion 1.2, or server.http=zttp"
        )
    return None if ssl.local_authority else read(ssl)


def expiry_warning(pair: KeyPair, ssl: Ssl) -> str:
    """Return one line where the certificate expires soon; "" otherwise."""
    days = pair.days_left(datetime.now(UTC))
    if days >= ssl.expiry_warning_days:
        return ""
    return (
        f"the certificate in {ssl.certificate_file} expires in {days:.0f} days, at {pair.expires_at:%Y-%m-%d %H:%M} UTC"
    )


def read(ssl: Ssl, now: datetime | None = None) -> KeyPair:
    """Read and check the files.

    Args:
        ssl: The paths.
        now: The time at which the certificate must be valid, by default this moment.

    Raises:
        BadSetting: As `check`.
    """
    for path, setting in ((ssl.certificate_file, _CERTIFICATE_KEY), (ssl.key_file, _PRIVATE_KEY)):
        if not path:
            raise BadSetting(
                f"server.security.secure=true needs {setting}, the path of a PEM file; "
                "`flyteadmin serve --tls` makes a certificate for this machine"
            )
    chain_pem, key_pem = _content(ssl.certificate_file, _CERTIFICATE_KEY), _content(ssl.key_file, _PRIVATE_KEY)
    chain = _certificates(chain_pem, ssl.certificate_file, _CERTIFICATE_KEY)
    _check_key(chain, key_pem, ssl)
    _check_validity(chain[0], ssl.certificate_file, now or datetime.now(UTC))
    client_ca = b""
    if ssl.client_ca_file:
        client_ca = _content(ssl.client_ca_file, _CLIENT_CA_KEY)
        _certificates(client_ca, ssl.client_ca_file, _CLIENT_CA_KEY)
    return KeyPair(chain_pem, key_pem, client_ca, dns_names(chain[0]), chain[0].not_valid_after_utc)


def unchanged(pair: KeyPair, ssl: Ssl) -> bool:
    """Return whether the files of certificate and key still hold what was read."""
    return pair.chain == Path(ssl.certificate_file).read_bytes() and pair.key == Path(ssl.key_file).read_bytes()


def signature(ssl: Ssl) -> Signature:
    """Return a value that differs after a file was changed or replaced. Links are followed; a missing file counts."""
    found = []
    for path in (ssl.certificate_file, ssl.key_file, ssl.client_ca_file):
        if path:
            try:
                status = os.stat(path)
            except OSError:
                found.append((path, 0, 0, 0))
            else:
                found.append((path, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names of a certificate, in lower case."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))


def _content(path: str, setting: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _bad(setting, path, f"cannot be read ({error.strerror})") from error
    if len(content) > FILE_BYTES_MAX:
        raise _bad(setting, path, f"has more than {FILE_BYTES_MAX} bytes")
    return content


def _certificates(pem: bytes, path: str, setting: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise _bad(setting, path, "holds no certificate in PEM form") from error


def _check_key(chain: list[x509.Certificate], key_pem: bytes, ssl: Ssl) -> None:
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except TypeError as error:
        problem = "is encrypted with a passphrase; decrypt it with `openssl pkey -in FILE -out NEW`"
        raise _bad(_PRIVATE_KEY, ssl.key_file, problem) from error
    except ValueError as error:
        # The messages of the library quote no part of the key, but they name OpenSSL's internals.
        raise _bad(_PRIVATE_KEY, ssl.key_file, "holds no private key in PEM form") from error
    fitting = [place for place, one in enumerate(chain) if one.public_key() == key.public_key()]
    if not fitting:
        problem = f"is not the key of the certificate in {ssl.certificate_file}"
        raise _bad(_PRIVATE_KEY, ssl.key_file, problem)
    if fitting[0] != 0:
        problem = f"has the server's own certificate in place {fitting[0] + 1}; it must be the first"
        raise _bad(_CERTIFICATE_KEY, ssl.certificate_file, problem)


def _check_validity(certificate: x509.Certificate, path: str, now: datetime) -> None:
    if certificate.not_valid_after_utc <= now:
        raise _bad(_CERTIFICATE_KEY, path, f"expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if certificate.not_valid_before_utc > now:
        text = f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; check the clock"
        raise _bad(_CERTIFICATE_KEY, path, text)


def _bad(setting: str, path: str, problem: str) -> BadSetting:
    return BadSetting(f"{setting}: the file {path} {problem}")
