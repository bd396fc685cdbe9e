"""Try a server hop by hop, as its clients reach it: `flyteadmin doctor`.

Name, TCP, TLS, REST, gRPC, metadata of authentication. The first hop that fails explains the others.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
from cryptography import x509
from flyteidl.admin import version_pb2
from flyteidl.service import admin_pb2_grpc

from app.server import findings
from app.server.certificates import dns_names
from app.server.findings import REQUEST_SECONDS, CheckReport, FetchFailed, get, reason_of
from app.settings import BadSetting
from app.settings.hosts import DEFAULT_PORTS, host_of

EXPIRY_DAYS = 21
_METADATA = "/.well-known/oauth-authorization-server"
_CODES_OF_A_SERVER = frozenset({"OK", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"})


class _Target:
    """An address, taken apart.

    Attributes:
        url: scheme://host[:port] without a path.
        authority: host:port.
    """

    def __init__(self, address: str) -> None:
        text = address.removeprefix("dns:///")
        host = host_of(text)
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            port = parts.port
        except ValueError:
            host = None
        if host is None or parts.scheme not in DEFAULT_PORTS:
            raise BadSetting(f"{address} is no address; allowed: https://host[:port], http://host[:port]")
        self.tls = parts.scheme == "https"
        self.host, self.port = host, port or DEFAULT_PORTS[parts.scheme]
        self.authority = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.url = f"{parts.scheme}://{self.authority}"
        self.path = parts.path.rstrip("/")


async def examine(address: str, authority: Path | None = None, token: str = "") -> CheckReport:
    """Return the findings of every hop.

    Args:
        address: The address of a server; its path, where it has one, is put in front of those of REST.
        authority: A PEM file of authorities, in place of those of the system.
        token: A bearer token, for calls that need one.

    Raises:
        BadSetting: The address or the file cannot be used.
    """
    target, report = _Target(address), CheckReport()
    context = _context(authority)
    if not await _connects(target, report):
        return report
    if target.tls and not await _check_tls(target, context, report):
        return report
    async with findings.client(context) as http:
        status = await _check_rest(target, http, report, token)
        if status:
            await _check_metadata(target, http, report, status)
    await _check_grpc(target, authority, report, token, rest=bool(status))
    return report


def _context(authority: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise BadSetting(f"the file {authority} cannot be used as an authority ({error.strerror or error})") from error


async def _connects(target: _Target, report: CheckReport) -> bool:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        report.error("name", f"{target.host} cannot be resolved ({error.strerror}); check DNS")
        return False
    report.ok("name", f"{target.host} is {', '.join(dict.fromkeys(str(one[4][0]) for one in found))}")
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            _, writer = await asyncio.open_connection(target.host, target.port)
    except TimeoutError:
        report.error("connection", f"no reply in {REQUEST_SECONDS:g} s; a firewall may drop the packets")
        return False
    except OSError as error:
        report.error("connection", f"{target.authority}: {reason_of(error)}; is the server started, on this port?")
        return False
    writer.close()
    report.ok("connection", target.authority)
    return True


async def _check_tls(target: _Target, context: ssl.SSLContext, report: CheckReport) -> bool:
    """Shake hands with verification; without it where that fails, to show the certificate."""
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        connection = await _shake(target, context)
    except (OSError, TimeoutError) as error:
        report.error("TLS", reason_of(error))
        if isinstance(error, ssl.SSLCertVerificationError):
            unverified = ssl.create_default_context()
            unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
            _show_certificate(await _shake(target, unverified), target, report)
        return False
    report.ok("TLS", f"{connection.version()}, {connection.cipher()[0]}, the certificate is trusted")
    _show_certificate(connection, target, report)
    if connection.selected_alpn_protocol() == "h2":
        report.ok("ALPN", "h2: gRPC can pass")
    else:
        report.error("ALPN", "the server or a proxy offers no h2, and gRPC needs it: enable HTTP/2 in the proxy")
    return True


async def _shake(target: _Target, context: ssl.SSLContext) -> Any:
    async with asyncio.timeout(REQUEST_SECONDS):
        _, writer = await asyncio.open_connection(
            target.host, target.port, ssl=context, server_hostname=target.host, ssl_shutdown_timeout=1
        )
    connection = writer.get_extra_info("ssl_object")
    writer.close()
    return connection


def _show_certificate(connection: Any, target: _Target, report: CheckReport) -> None:
    encoded = connection.getpeercert(binary_form=True)
    if not encoded:
        return
    certificate = x509.load_der_x509_certificate(encoded)
    names = ", ".join(dns_names(certificate)) or "no DNS name"
    report.ok("certificate", f"for {names}; issued by {certificate.issuer.rfc4514_string()}")
    days = (certificate.not_valid_after_utc - datetime.now(UTC)).days
    if days < 0:
        report.error("certificate", f"of {target.host} expired at {certificate.not_valid_after_utc}")
    elif days < EXPIRY_DAYS:
        report.warning("certificate", f"of {target.host} expires in {days} days")


async def _check_rest(target: _Target, http: httpx.AsyncClient, report: CheckReport, token: str) -> int:
    """Return the status of a reply of flyteadmin, 0 where there is none."""
    url = f"{target.url}{target.path}/api/v1/version"
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        reply = await findings.send(http, http.build_request("GET", url, headers=headers), redirects=False)
    except FetchFailed as error:
        report.error("REST", f"{url}: {error}")
        return 0
    server = reply.headers.get("server", "")
    by = f" (answered by {server})" if server else ""
    if reply.status == 200 and b"control_plane_version" in reply.body:
        report.ok("REST", f"{url}: {reply.shown()}")
    elif reply.status == 401:
        if token:
            report.error("REST", f"{url}: the token is refused ({reply.shown()})")
        else:
            report.ok("REST", f"{url} asks for a token; give one in FLYTEADMIN_TOKEN to go further")
    elif reply.status == 421:
        report.error(
            "REST", f"{target.host} is no name of this server: list it in auth.authorizedUris: {reply.shown()}"
        )
    elif reply.status in (502, 503, 504):
        report.error("REST", f"status {reply.status}{by}: a proxy answers, and the server behind it does not")
    elif 300 <= reply.status < 400:
        report.error("REST", f"status {reply.status}{by}: redirected to {reply.headers.get('location', '')}")
    else:
        report.error("REST", f"status {reply.status}{by}, which is no reply of flyteadmin: {reply.shown()!r}")
    return reply.status if reply.status in (200, 401) else 0


async def _check_metadata(target: _Target, http: httpx.AsyncClient, report: CheckReport, rest_status: int) -> None:
    url = f"{target.url}{target.path}{_METADATA}"
    try:
        reply = await get(http, url)
        if reply.status in (404, 501) and rest_status != 401:
            report.ok("authentication", "is off: everybody may call")
            return
        document = reply.json()
    except FetchFailed as error:
        report.error("authentication", f"{url}: {error}")
        return
    token = document.get("token_endpoint") or document.get("tokenEndpoint") or ""
    issuer = str(document.get("issuer", ""))
    if reply.status != 200 or not token:
        report.error("authentication", f"{url}: status {reply.status}, no token endpoint: {reply.shown()!r}")
        return
    report.ok("authentication", f"is on, issuer {issuer}, token endpoint {token}")
    theirs = urlsplit(issuer)
    if theirs.hostname == target.host and theirs.scheme != urlsplit(target.url).scheme:
        report.warning("public URL", f"the issuer is {issuer}, and you call {target.url}: check auth.authorizedUris")
    elif theirs.hostname != target.host and urlsplit(str(token)).hostname == theirs.hostname:
        report.warning(
            "public URL",
            f"the server takes itself for {issuer}; clients that call {target.url} must reach that address too",
        )
    try:
        await get(http, str(token))
    except FetchFailed as error:
        report.error("token endpoint", f"{token} cannot be reached by clients: {error}")


async def _check_grpc(target: _Target, authority: Path | None, report: CheckReport, token: str, *, rest: bool) -> None:
    if target.tls:
        roots = _authorities(authority)
        channel = grpc.aio.secure_channel(target.authority, grpc.ssl_channel_credentials(roots))
    else:
        channel = grpc.aio.insecure_channel(target.authority)
    metadata = (("authorization", f"Bearer {token}"),) if token else None
    async with channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        try:
            reply = await stub.GetVersion(version_pb2.GetVersionRequest(), timeout=REQUEST_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            code, details = error.code().name, error.details() or ""
            if code == "UNAUTHENTICATED" and not token:
                report.ok("gRPC", "asks for a token")
            elif code in _CODES_OF_A_SERVER:
                report.error("gRPC", f"{code}: {details}")
            else:
                hint = "; REST works, so the proxy does not pass gRPC: enable HTTP/2 to the server" if rest else ""
                report.error("gRPC", f"{code}: {details}{hint}")
        else:
            report.ok("gRPC", f"GetVersion: {reply.control_plane_version.Version}")


def _authorities(given: Path | None) -> bytes | None:
    """Return the given authorities, or those of OpenSSL, SSL_CERT_FILE included; grpcio has its own list otherwise."""
    file = given or ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file else None
