"""Every RPC, route and page refuses an anonymous caller, unless app/auth/access.py lists it."""

from __future__ import annotations

import asyncio
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flyteidl.datacatalog import datacatalog_pb2
from flyteidl.service import admin_pb2, auth_pb2, dataproxy_pb2, identity_pb2, signal_pb2
from google.api import annotations_pb2
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2
from starlette.responses import PlainTextResponse

from app.api.grpc import grpcio_server, protocol
from app.api.rest.router import RpcRoute
from app.api.routers import ALL
from app.auth import access
from app.main import FlyteAdmin, create_app
from app.mcp import adapter, tools
from app.server.metrics_listener import MetricsListener, _handler
from app.settings import Settings
from tests.api.asgi import Answer, ask

MCP, ADAPTER = 24601, 24602
SERVICES = [
    module.DESCRIPTOR.services_by_name[name]
    for module, name in (
        (admin_pb2, "AdminService"),
        (dataproxy_pb2, "DataProxyService"),
        (signal_pb2, "SignalService"),
        (identity_pb2, "IdentityService"),
        (auth_pb2, "AuthMetadataService"),
        (datacatalog_pb2, "DataCatalog"),
    )
]
METHODS = [method for service in SERVICES for method in service.methods]
HTTP2 = {"http_version": "2", "extensions": {"http.response.trailers": {}}}
GRPC = {"content-type": "application/grpc", "te": "trailers"}
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
UNAUTHENTICATED = "16"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every secret that authentication may want."""
    folder = tmp_path_factory.mktemp("secrets")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (folder / "token_rsa_key.pem").write_bytes(pem)
    (folder / "cookie_hash_key").write_text("A" * 86)
    (folder / "cookie_block_key").write_text("A" * 43)
    (folder / "claim_symmetric_key").write_text("A" * 43)
    (folder / "oidc_client_secret").write_text("secret")
    return folder


def settings_of(home: Path, secrets: Path, **auth: Any) -> Settings:
    return Settings(
        home=home,
        engine={"kind": "none"},
        server={"security": {"use_auth": True}},
        secrets={"secrets_prefix": str(secrets)},
        mcp={"enabled": True, "port": MCP, "adapter_port": ADAPTER},
        auth={"authorized_uris": ("http://localhost:30080",), **auth},
    )


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, secrets: Path) -> FlyteAdmin:
    """The application. Its database is not open, so a caller who gets past authentication gets an error."""
    app = create_app(settings_of(tmp_path_factory.mktemp("home"), secrets))

    @app.get("/of-a-host-application")
    async def other() -> PlainTextResponse:
        return PlainTextResponse("x")

    return app


def send(app: FlyteAdmin, verb: str, path: str, headers: dict[str, str] | None = None, **how: Any) -> Answer:
    return asyncio.run(ask(app, verb, path, {"host": "localhost", **(headers or {})}, **how))


def filled(template: str) -> str:
    """Return a path with a value for each variable."""
    numbers = re.compile(r"\{(?:[^}]*(?:retry_attempt|resource_type|attempt)[^}]*)\}")
    return re.sub(r"\{[^}]+\}", "x", numbers.sub("1", template))


def code_of_grpc(app: FlyteAdmin, path: str, payload: bytes = b"") -> str | None:
    answer = send(app, "POST", path, GRPC, body=protocol.frame(payload), scope=HTTP2)
    return answer.trailers.get("grpc-status", answer.headers.get("grpc-status"))


def is_open(method: Any) -> bool:
    return method.name in access.OPEN_RPCS


@pytest.mark.heavy
def test_refreshes_of_sessions_end_before_the_connections_to_the_provider_close(app: FlyteAdmin) -> None:
    """Services stop in the reverse order."""
    names = [service.name for service in app.services._services]
    assert names.index("identity_provider") < names.index("session_expiry")


def test_the_descriptors_are_the_rpcs_that_are_served() -> None:
    assert {rpc.path for rpc in ALL} == {f"/{m.containing_service.full_name}/{m.name}" for m in METHODS}
    assert {m.name for m in METHODS} > access.OPEN_RPCS


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_rpc_refuses_an_anonymous_caller_over_grpc_and_rest(app: FlyteAdmin, method: Any) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    assert (code_of_grpc(app, path) == UNAUTHENTICATED) is not is_open(method)
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        verb = binding.WhichOneof("pattern")
        if verb is None:
            continue
        body = b"{}" if verb in ("post", "put") else None
        answer = send(app, verb.upper(), filled(getattr(binding, verb)), body=body)
        assert (answer.status == 401) is not is_open(method), getattr(binding, verb)
        if not is_open(method):
            assert answer.json["code"] == 16
            assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_every_route_of_an_rpc_is_of_a_descriptor(app: FlyteAdmin) -> None:
    names = {route.rpc.name for route in app.routes if isinstance(route, RpcRoute)}
    assert names <= {method.name for method in METHODS}


def test_a_page_refuses_an_anonymous_caller_unless_it_is_listed(app: FlyteAdmin) -> None:
    pages = [route for route in app.routes if not isinstance(route, RpcRoute)]
    assert "/of-a-host-application" in {route.path for route in pages}  # type: ignore[attr-defined]
    for route in pages:
        path: str = route.path  # type: ignore[attr-defined]
        for verb in getattr(route, "methods", None) or ("GET",):
            answer = send(app, verb, filled(path))
            assert answer.status == 401 or access.rule_of(path).needs != "identity", (verb, path)


def test_every_row_of_the_table_is_a_route(app: FlyteAdmin) -> None:
    paths = {getattr(route, "path", "") for route in app.routes}
    assert set(access.PAGES) - paths <= {"/healthcheck", "/oauth2/device", "/oauth2/device_authorization"}


def test_a_page_with_a_signature_refuses_an_address_without_one(app: FlyteAdmin) -> None:
    for path, rule in access.PAGES.items():
        if rule.needs == "signature":
            assert send(app, "GET", filled(path)).status == 403


def test_unknown_paths_and_wrong_methods_come_before_authentication(app: FlyteAdmin) -> None:
    assert send(app, "GET", "/nosuch").status == 404
    assert send(app, "PUT", "/api/v1/version").status == 501
    assert send(app, "DELETE", "/docs").status == 405
    assert send(app, "GET", "/api/v1/projects?limit=abc").status == 400
    assert code_of_grpc(app, "/flyteidl.service.AdminService/NoSuch") == "12"
    assert send(app, "GET", "/healthcheck").status == 200


def test_a_websocket_of_a_page_is_closed(app: FlyteAdmin) -> None:
    from fastapi import WebSocket
    from fastapi.testclient import TestClient
    from starlette.websockets import WebSocketDisconnect

    @app.websocket("/socket")
    async def socket_(websocket: WebSocket) -> None:
        await websocket.accept()

    client = TestClient(app, base_url="http://localhost")
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/socket"):
        raise AssertionError("it was accepted")


@pytest.mark.parametrize("open_check", [False, True])
def test_the_streams_of_grpc(tmp_path: Path, secrets: Path, open_check: bool) -> None:
    app = create_app(settings_of(tmp_path, secrets, open_health_check=open_check))
    closed = set(app.grpc._streams) - access.OPEN_STREAMS
    assert closed == {"/grpc.health.v1.Health/Check"}
    code = code_of_grpc(app, *closed, health_pb2.HealthCheckRequest().SerializeToString())
    assert (code == UNAUTHENTICATED) is not open_check
    for path in access.OPEN_STREAMS:
        assert path in app.grpc._streams


@pytest.mark.parametrize("port", [MCP, ADAPTER])
def test_the_ports_for_assistants_refuse_an_anonymous_caller(app: FlyteAdmin, port: int) -> None:
    paths = ["/", "/mcp", "/openapi.json", "/nosuch", *(filled(adapter.path_of(tool)) for tool in tools.OPERATIONS)]
    for path in paths:
        for verb in VERBS:
            answer = send(app, verb, path, body=b"{}", scope={"server": ("127.0.0.1", port)})
            assert answer.status == 401, (verb, path)


def test_grpcio_refuses_an_anonymous_caller(app: FlyteAdmin) -> None:
    async def codes() -> dict[str, grpc.StatusCode]:
        server, port = await grpcio_server.start(app.server, ALL, "127.0.0.1:0")
        found = {}
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                for method in METHODS:
                    path = f"/{method.containing_service.full_name}/{method.name}"
                    request = message_factory.GetMessageClass(method.input_type)()
                    found[method.name] = await code_of(channel, path, request)
                found["Check"] = await code_of(channel, "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest())
        finally:
            await server.stop(None)
        return found

    async def code_of(channel: Any, path: str, request: Any) -> grpc.StatusCode:
        call = channel.unary_unary(path, type(request).SerializeToString, lambda reply: reply)
        try:
            await call(request)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    found = asyncio.run(codes())
    assert len(found) == len(METHODS) + 1
    opened = {name for name, code in found.items() if code is not grpc.StatusCode.UNAUTHENTICATED}
    assert opened == access.OPEN_RPCS


class TestMetricsListener:
    @pytest.fixture
    def port(self, tmp_path: Path, secrets: Path) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as bound:
            listener = MetricsListener(bound, settings_of(tmp_path, secrets), lambda: "")
            asyncio.run(listener.start())
            yield bound.getsockname()[1]
            asyncio.run(listener.stop())

    def test_every_page_is_in_the_table(self, tmp_path: Path, secrets: Path) -> None:
        handler = _handler(settings_of(tmp_path, secrets), lambda: "")
        assert set(handler.pages) == set(access.METRICS_PAGES)  # type: ignore[attr-defined]
        assert {rule.needs for rule in access.METRICS_PAGES.values()} == {"nothing", "loopback"}

    def test_this_machine_reads_all_pages(self, port: int) -> None:
        for path in access.METRICS_PAGES:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                assert answer.status == 200

    def test_other_machines_do_not_read_the_configuration(self, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.server.metrics_listener.is_loopback", lambda host: False)
        for path, rule in access.METRICS_PAGES.items():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    status = answer.status
            except HTTPError as error:
                status = error.code
            assert status == (403 if rule.needs == "loopback" else 200), path
