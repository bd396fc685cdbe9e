"""TLS of a real server, by real clients: httpx, grpcio, curl and openssl."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from flyteidl.admin import project_pb2
from flyteidl.service import admin_pb2_grpc

from tests.support import draining
from tests.support.certificates import Authority, write_pair
from tests.support.servers import Running, run, serving
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

NAME = "flyte.example"
AUTHORITY = Authority()
CLIENTS = 4
# The labels of the ports of REST and of gRPC.
LABELS = {"zttp": ("REST and gRPC", "gRPC alone"), "httptools": ("REST", "gRPC")}


def variables(folder: Path, **more: str) -> dict[str, str]:
    """The variables of a server with a certificate for NAME alone, in files below the folder."""
    certificate, key = folder / "server.pem", folder / "server-key.pem"
    if not certificate.exists():
        write_pair(folder, AUTHORITY.issue(NAME))
    AUTHORITY.write(folder / "ca.pem")
    ssl_settings = {"SSL__CERTIFICATEFILE": str(certificate), "SSL__KEYFILE": str(key), "SECURE": "true", **more}
    return {f"FLYTEADMIN__SERVER__SECURITY__{name}": value for name, value in ssl_settings.items()}


@contextmanager
def tls_serving(
    folder: Path, *arguments: str, extra: Mapping[str, str] | None = None, **more: str
) -> Iterator[Running]:
    with serving(folder / "home", *arguments, variables={**variables(folder, **more), **(extra or {})}) as server:
        yield server


def context(folder: Path, client: str = "") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if client:
        made.load_cert_chain(folder / f"{client}.pem", folder / f"{client}-key.pem")
    return made


def port_of(server: Running, label: str = "REST and gRPC") -> int:
    return int(server.address(label).rpartition(":")[2])


class Connection(http.client.HTTPSConnection):
    """HTTP/1.1 over TLS to this machine under NAME."""

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        try:
            self.sock = self._context.wrap_socket(plain, server_hostname=NAME)  # type: ignore[attr-defined]
        except BaseException:
            plain.close()
            raise

    def ask(self, path: str = "/api/v1/projects") -> http.client.HTTPResponse:
        self.request("GET", path)
        reply = self.getresponse()
        reply.body = reply.read()  # type: ignore[attr-defined]
        return reply

    def serial(self) -> str:
        return str(self.sock.getpeercert()["serialNumber"])


_connections: list[Connection] = []


def connect(folder: Path, port: int, client: str = "") -> Connection:
    """Return a connection that is made with its first request, and closed after the test."""
    made = Connection(NAME, port, context=context(folder, client), timeout=10)
    _connections.append(made)
    return made


@pytest.fixture(autouse=True)
def close_connections() -> Iterator[None]:
    yield
    while _connections:
        _connections.pop().close()


def served_serial(folder: Path, port: int) -> str:
    """The serial number of the certificate that a new connection gets."""
    connection = connect(folder, port)
    connection.connect()
    serial = connection.serial()
    connection.close()
    return serial


def channel(folder: Path, port: int, client: str = "") -> grpc.Channel:
    key, chain = (None, None)
    if client:
        key, chain = (folder / f"{client}-key.pem").read_bytes(), (folder / f"{client}.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes(), key, chain)
    options = [("grpc.ssl_target_name_override", NAME)]
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, options)


def list_projects(made: grpc.Channel) -> int:
    with made:
        stub = admin_pb2_grpc.AdminServiceStub(made)
        return len(stub.ListProjects(project_pb2.ProjectListRequest(), timeout=10).projects)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    """A server of two workers with MCP, HSTS and short handshakes."""
    short = {"SSL__HANDSHAKETIMEOUT": "1s", "HSTSMAXAGESECONDS": "86400"}
    arguments = ("--workers", "2", "--mcp-port", "0", "--rest-adapter-port", "0")
    with tls_serving(folder, *arguments, extra={"FLYTEADMIN__SERVER__READHEADERTIMEOUTSECONDS": "2"}, **short) as made:
        yield made


class TestListeners:
    def test_rest_works_with_a_certificate_for_the_own_name_only(self, folder: Path, server: Running) -> None:
        connection = connect(folder, port_of(server))
        reply = connection.ask()
        assert (reply.status, reply.version) == (200, 11)
        assert reply.headers["strict-transport-security"] == "max-age=86400"
        assert connection.ask("/api/v1/version").status == 200

    def test_http2_is_chosen_by_alpn(self, folder: Path, server: Running) -> None:
        with httpx.Client(http2=True, verify=context(folder)) as client:
            request = client.build_request("GET", f"{server.web}/api/v1/projects", headers={"host": NAME})
            request.extensions["sni_hostname"] = NAME
            reply = client.send(request)
        assert (reply.status_code, reply.http_version) == (200, "HTTP/2")
        assert reply.headers["strict-transport-security"] == "max-age=86400"

    @pytest.mark.parametrize(
        ("offered", "chosen"), [(["h2"], "h2"), (["http/1.1"], "http/1.1"), (["http/1.1", "h2"], "h2"), ([], None)]
    )
    def test_alpn(self, folder: Path, server: Running, offered: list[str], chosen: str | None) -> None:
        made = context(folder)
        if offered:
            made.set_alpn_protocols(offered)
        with (
            socket.create_connection(("127.0.0.1", port_of(server)), 10) as plain,
            made.wrap_socket(plain, server_hostname=NAME) as one,
        ):
            assert one.selected_alpn_protocol() == chosen
            assert one.version() == "TLSv1.3"

    @pytest.mark.parametrize("label", ["REST and gRPC", "gRPC alone"])
    def test_grpc_works_on_both_ports(self, folder: Path, server: Running, label: str) -> None:
        assert list_projects(channel(folder, port_of(server, label))) == 1

    def test_mcp_and_adapter_have_tls_and_metrics_have_none(self, folder: Path, server: Running) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        connection = connect(folder, port_of(server, "MCP"))
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        connection.request("POST", "/mcp", body, headers)
        reply = connection.getresponse()
        assert reply.status == 200
        assert json.loads(reply.read())["result"]["tools"]
        assert connect(folder, port_of(server, "REST adapter")).ask("/openapi.json").status == 200
        assert httpx.get(f"{server.metrics}/healthcheck").status_code == 200

    def test_other_names_are_refused_as_before(self, folder: Path, server: Running) -> None:
        for host, status in ((NAME, 200), ("rebound.example", 421), (f"sub.{NAME}", 421)):
            connection = connect(folder, port_of(server))
            connection.request("GET", "/api/v1/projects", headers={"host": host})
            assert connection.getresponse().status == status

    def test_signed_links_use_https(self, folder: Path, server: Running) -> None:
        connection = connect(folder, port_of(server))
        body = json.dumps({"project": "flytesnacks", "domain": "development", "filename": "x", "filename_root": "y"})
        connection.request(
            "POST",
            "/api/v1/dataproxy/artifact_urn",
            body,
            {"content-type": "application/json", "accept": "application/json"},
        )
        reply = connection.getresponse()
        signed = json.loads(reply.read())["signed_url"]
        assert signed.startswith(f"https://{NAME}:{port_of(server)}/storage/")
        connection.request("PUT", signed.partition(f":{port_of(server)}")[2], b"content")
        assert connection.getresponse().status == 200

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
    @pytest.mark.parametrize(
        ("option", "accepted"),
        [("-tls1_3", True), ("-tls1_2", True), ("-tls1_1", False), ("-cipher=AES128-SHA", False)],
    )
    def test_versions_and_ciphers(self, folder: Path, server: Running, option: str, accepted: bool) -> None:
        options = ["-tls1_2", *option.split("=")] if "=" in option else [option]
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port_of(server)}", "-servername", NAME, "-CAfile",
             str(folder / "ca.pem"), "-verify_return_error", *options],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert ("Verify return code: 0 (ok)" in done.stdout and done.returncode == 0) == accepted, done.stdout

    @pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
    @pytest.mark.parametrize("flag", ["--http1.1", "--http2", "--no-alpn"])
    def test_curl(self, folder: Path, server: Running, flag: str) -> None:
        place = f"{NAME}:{port_of(server)}"
        done = subprocess.run(
            ["curl", "-sS", flag, "--cacert", str(folder / "ca.pem"), "--resolve", f"{place}:127.0.0.1",
             "-w", "\n%{http_version}", f"https://{place}/api/v1/projects"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        body, _, version = done.stdout.rpartition("\n")
        assert json.loads(body)["projects"][0]["id"] == "flytesnacks"
        assert version == ("2" if flag == "--http2" else "1.1")


class TestHostileClients:
    """These share the server: each of them must leave it able to serve the next."""

    def test_silent_and_slow_clients_are_closed_and_block_nobody(self, folder: Path, server: Running) -> None:
        started = time.monotonic()
        silent = [socket.create_connection(("127.0.0.1", port_of(server)), 10) for _ in range(50)]
        slow = socket.create_connection(("127.0.0.1", port_of(server)), 10)
        # The head of a handshake message that announces more than comes.
        slow.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
        shaken = connect(folder, port_of(server))
        shaken.connect()
        before = time.monotonic()
        assert connect(folder, port_of(server)).ask().status == 200
        # The silent ones before it, one after the other, would take 51 seconds.
        assert time.monotonic() - before < 20
        for one in (*silent, slow):
            one.settimeout(10)
            assert one.recv(1000) == b""
            one.close()
        assert 0.5 < time.monotonic() - started < 25
        # A client that has completed the handshake must send a request within the time for heads.
        assert shaken.sock.recv(1000) == b""
        assert 1.5 < time.monotonic() - started < 30

    def test_plain_text_is_closed_with_a_log_line(self, folder: Path, server: Running) -> None:
        with socket.create_connection(("127.0.0.1", port_of(server)), 10) as plain:
            plain.sendall(b"GET /api/v1/projects HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"HTTP/" not in plain.recv(1000)
        wait_for(lambda: "it must use https://" in server.printed)
        with pytest.raises(grpc.RpcError) as failed:
            list_projects(grpc.insecure_channel(f"127.0.0.1:{port_of(server)}"))
        assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
        assert list_projects(channel(folder, port_of(server))) == 1

    def test_a_client_that_does_not_trust_the_server_is_logged(self, folder: Path, server: Running) -> None:
        with (
            pytest.raises(ssl.SSLCertVerificationError),
            socket.create_connection(("127.0.0.1", port_of(server)), 10) as plain,
        ):
            ssl.create_default_context().wrap_socket(plain, server_hostname=NAME)
        wait_for(lambda: "a client does not trust the authority" in server.printed)

    def test_random_bytes_break_nothing(self, folder: Path, server: Running) -> None:
        for size in (1, 5, 100, 20_000):
            with socket.create_connection(("127.0.0.1", port_of(server)), 10) as plain:
                plain.sendall(b"\x16\x03\x03" + os.urandom(size))
        assert connect(folder, port_of(server)).ask().status == 200


@pytest.mark.parametrize("certificates", ["required", "optional"])
@pytest.mark.parametrize("http", ["zttp", "httptools"])
def test_certificates_of_clients(tmp_path: Path, certificates: str, http: str) -> None:
    clients, foreign = Authority("clients"), Authority("foreign")
    clients.write(tmp_path / "clients.pem")
    write_pair(tmp_path, clients.issue("anna", client=True), "known")
    write_pair(tmp_path, foreign.issue("eve", client=True), "foreign")
    more = {"SSL__CLIENTCAFILE": str(tmp_path / "clients.pem"), "SSL__CLIENTCERTIFICATES": certificates}
    label, grpc_label = LABELS[http]
    with tls_serving(tmp_path, extra={"FLYTEADMIN__SERVER__HTTP": http}, **more) as server:
        port, grpc_port = port_of(server, label), port_of(server, grpc_label)
        assert connect(tmp_path, port, "known").ask().status == 200
        assert list_projects(channel(tmp_path, grpc_port, "known")) == 1
        refused = (ssl.SSLError, ConnectionError, http_client_error)
        if certificates == "optional":
            assert connect(tmp_path, port).ask().status == 200
            assert list_projects(channel(tmp_path, grpc_port)) == 1
        else:
            with pytest.raises(refused):
                connect(tmp_path, port).ask()
            with pytest.raises(grpc.RpcError):
                list_projects(channel(tmp_path, grpc_port))
            wait_for(lambda: "a client sent no certificate" in server.printed)
        with pytest.raises(refused):
            connect(tmp_path, port, "foreign").ask()


http_client_error = http.client.RemoteDisconnected


class TestReload:
    @pytest.mark.parametrize(("http", "workers"), [("zttp", "1"), ("zttp", "2"), ("httptools", "1")])
    def test_a_new_certificate_serves_new_connections(self, tmp_path: Path, http: str, workers: str) -> None:
        arguments = ("--workers", workers)
        label, grpc_label = LABELS[http]
        extra = {"FLYTEADMIN__SERVER__HTTP": http}
        with tls_serving(tmp_path, *arguments, extra=extra, SSL__RELOADSECONDS="0.2s") as server:
            port = port_of(server, label)
            living = connect(tmp_path, port)
            assert living.ask().status == 200
            old = living.serial()
            (tmp_path / "server-key.pem").write_bytes(b"broken")
            wait_for(lambda: server.printed.count("tls_certificate_not_reloaded") >= int(workers))
            assert "server-key.pem holds no private key in PEM form" in server.printed
            assert served_serial(tmp_path, port) == old
            write_pair(tmp_path, AUTHORITY.issue(NAME, days=5))
            wait_for(lambda: server.printed.count("tls_certificate_reloaded") >= int(workers))
            assert {served_serial(tmp_path, port) for _ in range(10)}.isdisjoint({old})
            assert living.ask().status == 200
            assert living.serial() == old
            assert list_projects(channel(tmp_path, port_of(server, grpc_label))) == 1
            wait_for(lambda: '"days_left":' in server.printed)
            if http == "zttp":
                # The log has one line for each broken pair of files, not one for each look at them.
                assert server.printed.count("tls_certificate_not_reloaded") <= 3 * int(workers)

    def test_grpcio_serves_the_new_certificate(self, tmp_path: Path) -> None:
        extra = {"FLYTEADMIN__SERVER__HTTP": "httptools"}
        with tls_serving(tmp_path, extra=extra, SSL__RELOADSECONDS="0.2s") as server:
            port = port_of(server, "gRPC")
            old = served_serial(tmp_path, port)
            write_pair(tmp_path, AUTHORITY.issue(NAME))
            wait_for(lambda: served_serial(tmp_path, port) != old)

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_a_hangup_reloads_where_files_are_not_watched(self, tmp_path: Path, workers: str) -> None:
        with tls_serving(tmp_path, "--workers", workers, SSL__RELOADSECONDS="0") as server:
            old = served_serial(tmp_path, port_of(server))
            write_pair(tmp_path, AUTHORITY.issue(NAME, "second.example"))
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: server.printed.count("tls_certificate_reloaded") == int(workers))
            assert served_serial(tmp_path, port_of(server)) != old
            connection = connect(tmp_path, port_of(server))
            connection.request("GET", "/api/v1/projects", headers={"host": "second.example"})
            assert connection.getresponse().status == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_request_is_lost_when_the_server_stops(tmp_path: Path, workers: str) -> None:
    lost: list[str] = []
    answered: list[int] = []

    def ask_until_refused(port: int) -> None:
        draining.ask_by_http(connect(tmp_path, port), lost, answered)

    def ask_by_grpc(port: int) -> None:
        draining.ask_by_grpc(channel(tmp_path, port), lost, answered)

    drains = {"FLYTEADMIN__SERVER__DRAINSECONDS": "1"}
    with tls_serving(tmp_path, "--workers", workers, extra=drains) as server:
        # An idle client that never answers the end of the encryption must not delay the stop.
        idle = connect(tmp_path, port_of(server))
        assert idle.ask().status == 200
        asks = [ask_until_refused, ask_by_grpc] * (CLIENTS // 2)
        clients = [threading.Thread(target=ask, args=(port_of(server),)) for ask in asks]
        for client in clients:
            client.start()
        wait_for(lambda: len(answered) > 10 * CLIENTS)
        stopping = time.monotonic()
        assert server.stop(signal.SIGTERM) == 0
        assert time.monotonic() - stopping < 20
        for client in clients:
            client.join()
    assert not lost
    assert set(answered) == {200}


class TestStart:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"SSL__KEYFILE": "/nothing/key.pem"}, r"keyFile: the file /nothing/key.pem cannot be read \(No such file"),
            ({"SSL__CERTIFICATEFILE": ""}, r"secure=true needs server.security.ssl.certificateFile.*serve --tls"),
            ({"SSL__MINVERSION": "1.1"}, r"MINVERSION='1.1' .* '1.2' or '1.3'"),
            ({"SSL__CLIENTCAFILE": "/nothing/ca.pem"}, r"clientCaFile: the file /nothing/ca.pem cannot be read"),
        ],
    )
    def test_unusable_settings_end_the_start_in_one_line(
        self, tmp_path: Path, change: dict[str, str], reason: str
    ) -> None:
        done = run(
            tmp_path / "home", "serve", "--port", "0", **{**variables(tmp_path), **variables(tmp_path, **change)}
        )
        assert done.returncode == 1
        assert re.search(reason, done.stderr), done.stderr
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "home").exists()

    def test_an_expired_certificate_ends_the_start(self, tmp_path: Path) -> None:
        write_pair(tmp_path, AUTHORITY.issue(NAME, days=-1))
        done = run(tmp_path / "home", "serve", "--port", "0", **variables(tmp_path))
        assert done.returncode == 1
        assert "server.pem expired at" in done.stderr

    def test_a_certificate_that_expires_soon_is_named(self, tmp_path: Path) -> None:
        write_pair(tmp_path, AUTHORITY.issue(NAME, days=3))
        with tls_serving(tmp_path) as server:
            assert "warning: the certificate in" in server.printed
            wait_for(lambda: '"event":"tls_certificate_expires"' in server.printed)


class TestLocalAuthority:
    def test_the_printed_lines_work(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        with serving(home, "--tls") as server:
            authority = home / "tls" / "ca.pem"
            reply = httpx.get(f"{server.web}/api/v1/projects", verify=ssl.create_default_context(cafile=str(authority)))
            assert reply.json()["projects"][0]["id"] == "flytesnacks"
            assert "strict-transport-security" not in reply.headers
            credentials = grpc.ssl_channel_credentials(authority.read_bytes())
            for label in ("REST and gRPC", "gRPC alone"):
                assert list_projects(grpc.secure_channel(server.address(label), credentials)) == 1
            assert f'caCertFilePath: "{authority}"' in (home / "config.yaml").read_text()
            if shutil.which("curl"):
                line = next(line for line in server.printed.splitlines() if line.strip().startswith("curl --cacert"))
                done = subprocess.run(line.split(), capture_output=True, text=True, timeout=20, check=True)
                assert json.loads(done.stdout)["projects"]
        before = (home / "tls" / "server.pem").read_bytes()
        with serving(home, "--tls"):
            assert (home / "tls" / "server.pem").read_bytes() == before
        with serving(home):
            assert "caCertFilePath" not in (home / "config.yaml").read_text()

    def test_certificate_files_beside_the_flag_are_refused(self, tmp_path: Path) -> None:
        done = run(tmp_path / "home", "serve", "--tls", "--port", "0", **variables(tmp_path))
        assert done.returncode == 1
        assert "--tls" in done.stderr
