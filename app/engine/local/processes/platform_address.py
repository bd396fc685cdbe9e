"""The variables by which a task finds this server: its address, and the authority that its certificate comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from app.settings import BadSetting, Settings

_HTTPS_PORT = 443
# Where `flyteadmin serve --tls` keeps the authority and the certificate that it makes, below the home folder.
_LOCAL_AUTHORITY, _LOCAL_CERTIFICATE = Path("tls", "ca.pem"), Path("tls", "server.pem")


def platform_variables(settings: Settings, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that flytekit reads.

    Over TLS, a task uses `localhost` where the certificate names it, and the public address otherwise.

    Raises:
        BadSetting: The certificate cannot be read.
    """
    local = f"localhost:{settings.server.http_port}"
    if not settings.server.security.secure:
        return {"FLYTE_PLATFORM_URL": local, "FLYTE_PLATFORM_INSECURE": "true"}
    file = Path(settings.server.security.ssl.certificate_file)
    chain = _certificates(file)
    address = local if "localhost" in _names(chain[0]) else _public(settings) or local
    found = {"FLYTE_PLATFORM_URL": address, "FLYTE_PLATFORM_INSECURE": "false"}
    authority = _authority(settings, file, chain, environ)
    return {**found, "FLYTE_PLATFORM_CA_CERT_FILE_PATH": authority} if authority else found


def _authority(settings: Settings, file: Path, chain: list[x509.Certificate], environ: Mapping[str, str]) -> str:
    """Return the file with the authority of the certificate; "" for one that every machine trusts."""
    if file.absolute() == settings.home_path / _LOCAL_CERTIFICATE:
        return str(settings.home_path / _LOCAL_AUTHORITY)
    if any(one.issuer == one.subject for one in chain):
        return str(file.absolute())
    # flytekit's HTTP client reads SSL_CERT_FILE by itself; its gRPC client needs the file named in its own variable.
    return environ.get("SSL_CERT_FILE", "")


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BadSetting(f"server.security.ssl.certificateFile={file} cannot be read: {error}") from error


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.DNSName)


def _public(settings: Settings) -> str:
    """Return host:port of the first https address of this server; "" without one."""
    for uri in (settings.server.public_url, *settings.auth.authorized_uris):
        parts = urlsplit(uri)
        if parts.scheme == "https" and parts.hostname:
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            return f"{host}:{parts.port or _HTTPS_PORT}"
    return ""
