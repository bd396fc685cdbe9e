"""`flyteadmin doctor` against servers that work, and against hops that fail."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from app.server import doctor
from app.server.findings import CheckReport
from app.settings import BadSetting
from tests.support.certificates import Authority, write_pair
from tests.support.servers import Running, run, serving

pytestmark = pytest.mark.heavy

AUTHORITY = Authority()


def lines(report: CheckReport, level: str) -> list[str]:
    return [f"{one.subject}: {one.text}" for one in report.findings if one.level == level]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doctor") / "home"


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Running]:
    with serving(home, "--tls") as made:
        yield made


@pytest.mark.slow
class TestServer:
    """A server with TLS."""

    def test_every_hop_works(self, home: Path, server: Running) -> None:
        done = run(home, "doctor", server.web, "--ca", str(home / "tls" / "ca.pem"))
        assert done.returncode == 0, done.stdout
        for line in (
            "ok       connection: localhost:",
            "ok       TLS: TLSv1.3",
            "ok       certificate: for localhost",
            "ok       ALPN: h2",
            "ok       REST: https://localhost:",
            "ok       authentication: is off",
            "ok       gRPC: GetVersion",
        ):
            assert line in done.stdout
        assert "error" not in done.stdout

    def test_the_authority_may_come_from_the_environment(self, home: Path, server: Running) -> None:
        done = run(home, "doctor", server.web, SSL_CERT_FILE=str(home / "tls" / "ca.pem"))
        assert done.returncode == 0, done.stdout

    def test_an_authority_that_is_not_trusted_is_named(self, server: Running) -> None:
        report = asyncio.run(doctor.examine(server.web))
        assert any("set SSL_CERT_FILE to its PEM file" in line for line in lines(report, "error"))
        assert any("issued by CN=flyteadmin local authority" in line for line in lines(report, "ok"))

    def test_http_to_a_port_with_tls(self, server: Running) -> None:
        report = asyncio.run(doctor.examine(server.web.replace("https", "http")))
        assert any("a port with TLS needs https://" in line for line in lines(report, "error"))


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def replying(reply: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(2000)
            writer.write(reply)
            await writer.drain()
        except OSError:
            pass
        writer.close()

    return handle


def examined(
    handle: Handler, scheme: str, context: ssl.SSLContext | None = None, authority: Path | None = None
) -> CheckReport:
    async def run() -> CheckReport:
        server = await asyncio.start_server(handle, "localhost", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await doctor.examine(f"{scheme}://localhost:{port}", authority)

    return asyncio.run(run())


def http_reply(status: str, body: str = "", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{headers}\r\n{body}".encode()


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (http_reply("502 Bad Gateway", headers="server: nginx\r\n"), "status 502 (answered by nginx): a proxy answers"),
        (http_reply("301 Moved", headers="location: https://x/\r\n"), "redirected to https://x/"),
        (http_reply("421 Misdirected", "the Host"), "list it in auth.authorizedUris"),
        (http_reply("200 OK", "<html>"), "which is no reply of flyteadmin: '<html>'"),
        (b"SSH-2.0-OpenSSH\r\n", "the reply is no HTTP"),
        (b"", "the connection was closed"),
    ],
)
def test_hops_that_fail(reply: bytes, text: str) -> None:
    report = examined(replying(reply), "http")
    assert any(line.startswith("REST") and text in line for line in lines(report, "error")), report.findings
    assert any(line.startswith("gRPC") for line in lines(report, "error"))


def test_a_server_with_authentication_but_without_metadata() -> None:
    report = examined(replying(http_reply("401 Unauthorized", '{"message": "a long text"}')), "http")
    asked = [line for line in lines(report, "ok") if line.startswith("REST")]
    assert len(asked) == 1
    assert asked[0].endswith("asks for a token; give one in FLYTEADMIN_TOKEN to go further")
    assert any(line.startswith("authentication") for line in lines(report, "error"))


def test_tls_to_a_port_without_tls() -> None:
    report = examined(replying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "https")
    assert [one for one in lines(report, "error") if one.startswith("TLS")], report.findings


@pytest.mark.parametrize(
    ("names", "days", "alpn", "text"),
    [
        (("localhost",), 365, None, "ALPN: the server or a proxy offers no h2"),
        (("other.example",), 365, ["h2"], "Hostname mismatch"),
        (("localhost",), -1, ["h2"], "certificate has expired"),
    ],
)
def test_certificates_and_alpn(
    tmp_path: Path, names: tuple[str, ...], days: int, alpn: list[str] | None, text: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_pair(tmp_path, AUTHORITY.issue(*names, days=days)))
    if alpn:
        context.set_alpn_protocols(alpn)
    report = examined(replying(b""), "https", context, AUTHORITY.write(tmp_path / "ca.pem"))
    assert any(text in line for line in lines(report, "error")), report.findings
    assert any(line.startswith(f"certificate: for {names[0]}") for line in lines(report, "ok"))


def test_names_and_ports_that_lead_nowhere() -> None:
    report = asyncio.run(doctor.examine("https://localhost:1"))
    assert any("no server listens there" in line for line in lines(report, "error"))
    report = asyncio.run(doctor.examine("https://nothing.invalid"))
    assert any("cannot be resolved" in line for line in lines(report, "error"))


@pytest.mark.parametrize("address", ["ftp://x", "http://", "https://x:99999", "https://a b", "https://[::1"])
def test_addresses_of_another_form(address: str) -> None:
    with pytest.raises(BadSetting, match="is no address"):
        asyncio.run(doctor.examine(address))


def test_a_file_of_authorities_that_is_none(tmp_path: Path) -> None:
    for file in (tmp_path / "none", tmp_path):
        with pytest.raises(BadSetting, match="cannot be used as an authority"):
            asyncio.run(doctor.examine("https://localhost", file))
