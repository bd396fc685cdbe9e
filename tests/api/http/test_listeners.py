"""The rules about Host, Origin and bodies of web pages on every listener of a server."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import grpc
import pytest
import zttp
from flyteidl.admin import version_pb2
from flyteidl.service import admin_pb2_grpc

from tests.mcp.conftest import PORTS
from tests.support.servers import Running, serving

pytestmark = pytest.mark.slow

CONSOLE = "https://console.example"
EVIL = "http://evil.example"
VARIABLES = {
    "FLYTEADMIN__SERVER__SECURITY__ALLOWEDORIGINS": CONSOLE,
    "FLYTEADMIN__SERVER__SECURITY__ALLOWEDHOSTS": "flyte.internal",
    "FLYTEADMIN__MCP__ALLOWEDHOSTS": "mcp.internal",
}
LISTENERS = {
    "REST": ("REST and gRPC", "GET", "/api/v1/projects"),
    "gRPC-Web": ("REST and gRPC", "POST", "/flyteidl.service.AdminService/GetVersion"),
    "documentation": ("REST and gRPC", "GET", "/docs"),
    "health": ("REST and gRPC", "GET", "/healthcheck"),
    "storage": ("REST and gRPC", "GET", "/storage/a"),
    "logs": ("REST and gRPC", "GET", "/logs/p/d/e/n/0"),
    "second gRPC port": ("gRPC alone", "GET", "/api/v1/projects"),
    "MCP": ("MCP", "POST", "/mcp"),
    "REST adapter": ("REST adapter", "GET", "/v1/api/v1/executions/p/d?limit=1"),
    "metrics": ("metrics", "GET", "/metrics"),
    "config": ("metrics", "GET", "/config"),
}
TYPES = {"gRPC-Web": "application/grpc-web+proto"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("served") / "home", *PORTS, variables=VARIABLES) as running:
        yield running


def ask(address: str, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, bytes, str]:
    """The status, the body, and the origin that may read the reply."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request(method, path, body or None, headers)
        reply = connection.getresponse()
        return reply.status, reply.read(), reply.getheader("access-control-allow-origin", "")
    finally:
        connection.close()


@pytest.mark.parametrize("listener", LISTENERS)
def test_the_table(server: Running, listener: str) -> None:
    label, method, path = LISTENERS[listener]
    address = server.address(label)
    port = address.rpartition(":")[2]
    types = {"Content-Type": TYPES.get(listener, "application/json")}
    body = b"{}" if method == "POST" else b""
    refused = {
        (403, "server.security.allowedOrigins"): [
            {"Origin": EVIL},
            {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
            {"Origin": "null"},
            {"Origin": "file://"},
            {"Origin": f"http://localhost:{int(port) + 1}"},
            {"Origin": f"http://127.0.0.1:{port}"},
            {"Host": f"evil.example:{port}", "Origin": EVIL},
        ],
        (421, "server.security.allowedHosts"): [
            {"Host": f"evil.example:{port}"},
            {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"},
            {"Host": f"evil.example:{port}", "Sec-Fetch-Site": "same-origin"},
            {"Host": f"localhost:{port}@evil.example"},
            {"Host": "127.0.0.1.evil.example"},
        ],
    }
    # A Host that is wrong is told before the Origin.
    refused[421, "server.security.allowedHosts"].append(refused[403, "server.security.allowedOrigins"].pop())
    for (status, setting), cases in refused.items():
        for headers in cases:
            got, said, readable = ask(address, method, path, {**types, **headers}, body)
            assert (got, setting.encode() in said, readable) == (status, True, ""), (headers, got, said)
    usual = ask(address, method, path, types, body)
    assert usual[0] not in (403, 421, 415) or listener == "storage", usual
    for headers in (
        {"Host": "127.0.0.1"},
        {"Host": f"[::1]:{port}"},
        {"Host": "LOCALHOST."},
        {"Host": "flyte.internal"},
        {"Host": "mcp.internal"},
        {"Origin": f"http://localhost:{port}"},
        {"Host": "flyte.internal", "Origin": "https://flyte.internal"},
        {"Origin": CONSOLE, "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ):
        got, said, _ = ask(address, method, path, {**types, **headers}, body)
        assert got == usual[0], (headers, got, said)


@pytest.mark.parametrize("listener", ["REST", "documentation", "storage", "logs", "MCP", "REST adapter"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_bodies_that_pages_may_send_without_asking(server: Running, listener: str, method: str) -> None:
    label, _, path = LISTENERS[listener]
    address = server.address(label)
    signed = listener == "storage" and method == "PUT"
    for page in ({"Origin": f"http://{address}"}, {"Origin": CONSOLE}, {"Sec-Fetch-Site": "cross-site"}):
        for type_ in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None):
            headers = {**page, **({"Content-Type": type_} if type_ else {})}
            got, said, _ = ask(address, method, path, headers, b'{"a":1}')
            if signed:
                assert got == 403, (headers, got, said)
                assert b"signature" in said or b"signed" in said, said
            else:
                assert (got, b"application/json" in said) == (415, True), (headers, got, said)


def test_heads_leave_the_connection_in_order(server: Running) -> None:
    connection = http.client.HTTPConnection(server.address("REST and gRPC"), timeout=20)
    for method in ("HEAD", "POST", "GET"):
        connection.request(method, "/api/v1/projects", b"{}" * 50_000 if method == "POST" else None, {"Host": "evil"})
        reply = connection.getresponse()
        assert (reply.status, bool(reply.read())) == (421, method != "HEAD")
    connection.request("GET", "/api/v1/projects")
    assert connection.getresponse().status == 200
    connection.close()


def test_curl_with_its_default_type(server: Running) -> None:
    made = ask(
        server.address("REST and gRPC"),
        "POST",
        "/api/v1/projects",
        {"Content-Type": "application/x-www-form-urlencoded"},
        b'{"project":{"id":"by-curl","name":"by-curl"}}',
    )
    assert made[0] == 200, made


def test_the_console_on_a_configured_origin(server: Running) -> None:
    address, page = server.address("REST and gRPC"), {"Origin": CONSOLE, "Sec-Fetch-Site": "cross-site"}
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    assert ask(address, "OPTIONS", "/api/v1/executions", {**page, **asking})[::2] == (200, CONSOLE)
    assert ask(address, "GET", "/api/v1/projects", page)[::2] == (200, CONSOLE)
    protobuf = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
    assert ask(address, "POST", "/api/v1/executions", {**page, **protobuf}, b"\x0a\x01p")[::2] == (400, CONSOLE)
    assert ask(address, "OPTIONS", "/api/v1/executions", {"Origin": EVIL, **asking})[::2] == (403, "")


def raw(address: str, head: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head)
        received = b""
        while part := connection.recv(4096):
            received += part
        return received


@pytest.mark.parametrize("label", ["REST and gRPC", "MCP", "REST adapter", "metrics"])
@pytest.mark.parametrize(
    ("head", "statuses"),
    [
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost", (421,)),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example", (421,)),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", (400, 421)),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\nHost: localhost", (400, 421)),
        (b"GET / HTTP/1.1\r\nHost: localhost,evil.example", (421,)),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n evil.example", (400, 421)),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\nX: y", (400, 421)),
        (b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost", (421,)),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nOrigin: http://evil.example", (403,)),
        (b"FOO / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example", (403,)),
    ],
)
def test_heads_that_no_client_writes(server: Running, label: str, head: bytes, statuses: tuple[int, ...]) -> None:
    received = raw(server.address(label), head + b"\r\nConnection: close\r\n\r\n")
    assert int(received.split()[1]) in statuses, received


@pytest.mark.parametrize(
    ("authority", "content_type", "statuses"),
    [
        ("localhost", "", {200}),
        ("evil.example", "", {421}),
        ("flyte.internal", "", {200}),
        # gRPC-Web comes from pages, native gRPC does not.
        ("evil.example", "application/grpc-web+proto", {421}),
        ("evil.example", "application/grpc", {200, 405}),
    ],
)
def test_the_authority_of_http2(server: Running, authority: str, content_type: str, statuses: set[int]) -> None:
    host, _, port = server.address("REST and gRPC").rpartition(":")
    client = zttp.Connection(zttp.CLIENT, protocol=zttp.HTTP2)
    client.initiate_connection()
    fields = [(b"host", authority.encode()), *([(b"content-type", content_type.encode())] if content_type else [])]
    client.send_request(b"GET", b"/api/v1/projects", b"2", fields).end_message()
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(client.data_to_send())
        while True:
            client.receive_data(connection.recv(65536))
            while (event := client.next_event()) is not zttp.NEED_DATA:
                if isinstance(event, zttp.Response):
                    assert event.status_code in statuses
                    return


def test_native_grpc_under_any_name(server: Running) -> None:
    for label in ("REST and gRPC", "gRPC alone"):
        options = (("grpc.default_authority", "flyteadmin.flyte.svc.cluster.local:81"),)
        with grpc.insecure_channel(server.address(label), options) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            assert stub.GetVersion(version_pb2.GetVersionRequest(), timeout=20).control_plane_version.Version
            with pytest.raises(grpc.RpcError) as refused:
                stub.GetVersion(version_pb2.GetVersionRequest(), metadata=(("origin", EVIL),), timeout=20)
            assert refused.value.code() is not grpc.StatusCode.OK


def test_what_the_start_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("open")
    file = folder / "upstream.yaml"
    file.write_text('server: {security: {allowedOrigins: ["*"]}}')
    with serving(folder / "home", "--host", "0.0.0.0", "--config", str(file)) as running:
        assert "warning: server.host=0.0.0.0 is reachable from other machines" in running.printed
        assert 'warning: server.security.allowedOrigins has "*": every web page' in running.printed
        page = {"Origin": EVIL, "Content-Type": "application/json"}
        assert ask(running.address("REST and gRPC"), "GET", "/api/v1/projects", page)[::2] == (200, "*")
