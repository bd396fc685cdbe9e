"""Findings of `flyteadmin auth check` and `flyteadmin doctor`, and bounded requests to other servers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import orjson

from app.settings import BadSetting, redact

REQUEST_SECONDS = 10.0
BYTES_MAX = 1024 * 1024
_SHOWN_MAX = 200

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report.

    Attributes:
        subject: The object that was checked: a setting, an address, a hop.
        text: The observation, and for a warning or an error the remedy.
    """

    level: Level
    subject: str
    text: str


@dataclass(slots=True)
class CheckReport:
    """The findings of a check, in order."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Return whether there is an error."""
        return any(one.level == "error" for one in self.findings)

    def ok(self, subject: str, text: str) -> None:
        """Add an observation."""
        self.findings.append(Finding("ok", subject, text))

    def warning(self, subject: str, text: str) -> None:
        """Add a problem that some users may never notice."""
        self.findings.append(Finding("warning", subject, text))

    def error(self, subject: str, text: str) -> None:
        """Add a problem that keeps users out."""
        self.findings.append(Finding("error", subject, text))


class FetchFailed(Exception):
    """There is no usable reply; the message is one line with the reason."""


@dataclass(frozen=True, slots=True)
class CheckedReply:
    """A reply that was read whole."""

    status: int
    headers: httpx.Headers
    body: bytes
    http_version: str = ""

    def shown(self) -> str:
        """Return the beginning of the body on one line."""
        return " ".join(self.body[:_SHOWN_MAX].decode("utf-8", "replace").split())

    def json(self) -> Mapping[str, Any]:
        """Return the JSON object in the body.

        Raises:
            FetchFailed: The body is none.
        """
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise FetchFailed(f"the reply is no JSON: {self.shown()!r}") from error
        if not isinstance(value, dict):
            raise FetchFailed("the reply is JSON, but no object")
        return value


def client(verify: ssl.SSLContext | None = None, proxy: str = "") -> httpx.AsyncClient:
    """Return a client that trusts the authorities of the system, and those of the variable SSL_CERT_FILE.

    Args:
        verify: Other authorities to trust.
        proxy: The address of an HTTP proxy, "" for that of the environment.

    Raises:
        BadSetting: The proxy's address has no form of one.
    """
    try:
        return httpx.AsyncClient(
            proxy=proxy or None,
            timeout=REQUEST_SECONDS,
            verify=verify or ssl.create_default_context(),
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )
    except (ValueError, httpx.InvalidURL) as error:
        raise BadSetting(f"the proxy {redact(proxy)} (httpProxyURL) cannot be used: {error}") from error


async def send(http: httpx.AsyncClient, request: httpx.Request, *, redirects: bool = True) -> CheckedReply:
    """Send a request and read the reply, within limits of time and size.

    Raises:
        FetchFailed: There is no reply in time, or it is too large.
    """
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            reply = await http.send(request, stream=True, follow_redirects=redirects)
            try:
                body = b""
                async for piece in reply.aiter_bytes():
                    body += piece
                    if len(body) > BYTES_MAX:
                        raise FetchFailed(f"the reply has more than {BYTES_MAX} bytes")
            finally:
                await reply.aclose()
    except TimeoutError as error:
        raise FetchFailed(f"no complete reply in {REQUEST_SECONDS:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, ValueError) as error:
        raise FetchFailed(reason_of(error)) from error
    return CheckedReply(reply.status_code, reply.headers, body, reply.http_version)


async def get(http: httpx.AsyncClient, url: str) -> CheckedReply:
    """Return the reply to a GET request. Raises FetchFailed, also for an address of another form."""
    try:
        request = http.build_request("GET", url)
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchFailed(f"{url!r} is no address ({error})") from error
    return await send(http, request)


async def get_json(http: httpx.AsyncClient, url: str) -> tuple[Mapping[str, Any], CheckedReply]:
    """Return the JSON object at an address, and the reply. Raises FetchFailed, also for a status other than 200."""
    reply = await get(http, url)
    if reply.status != 200:
        raise FetchFailed(f"status {reply.status}: {reply.shown()!r}")
    return reply.json(), reply


def reason_of(error: BaseException) -> str:
    """Return the innermost reason of a failed request, with advice for the usual ones."""
    text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        detail = text.partition("certificate verify failed: ")[2].rpartition(" (")[0] or text
        return f"the certificate is not trusted ({detail}); for a private authority set SSL_CERT_FILE to its PEM file"
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return "the port has no TLS, or a proxy without TLS answers; try http://"
    if "Connection refused" in text or "Connect call failed" in text or "All connection attempts failed" in text:
        return "no server listens there (connection refused)"
    if "Name or service not known" in text or "No address associated" in text or "name resolution" in text:
        return "the name is unknown (DNS)"
    if isinstance(error, httpx.TimeoutException):
        return f"no reply in {REQUEST_SECONDS:g} s (a firewall may drop the packets)"
    if isinstance(error, httpx.RemoteProtocolError):
        return f"the reply is no HTTP, or the connection was closed ({text}); a port with TLS needs https://"
    return text
