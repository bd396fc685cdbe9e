"""The application as users of FastAPI expect it: routes, document, middleware, lifespan, mounting, handlers, frames."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from app.api.pages.docs import DOCUMENT
from app.api.routers import ALL, ROUTERS
from app.main import FlyteAdmin, create_app
from app.services import executions
from app.settings import Settings
from tests.support.databases import migrated

pytestmark = pytest.mark.heavy

PROJECTS = "/api/v1/projects"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    migrated(tmp_path / "flyte.db")
    return Settings(home=tmp_path, database={"url": f"sqlite:///{tmp_path}/flyte.db"}, engine={"kind": "none"})


@pytest.fixture
def app(settings: Settings) -> FlyteAdmin:
    return create_app(settings)


def client_of(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://localhost")


@pytest.fixture
def client(app: FlyteAdmin) -> Iterator[TestClient]:
    with client_of(app) as client:
        yield client


def test_the_application_is_fastapi_and_lists_every_binding(app: FlyteAdmin) -> None:
    bindings = {(binding.verb, binding.template) for rpc in ALL for binding in rpc.bindings}
    listed = [(*route.methods, route.path) for route in app.routes if getattr(route, "rpc", None)]
    assert isinstance(app, FastAPI)
    assert len(listed) == len(set(listed)) == len(bindings) == 69
    assert set(listed) == bindings


def test_each_tag_has_a_router(app: FlyteAdmin) -> None:
    document = app.openapi()
    tags = {tag for router in ROUTERS for tag in router.tags if router.routes}
    assert tags == {tag for path in document["paths"].values() for verb in path.values() for tag in verb["tags"]}


def test_openapi_is_the_generated_document(app: FlyteAdmin) -> None:
    assert app.openapi() == json.loads(DOCUMENT.read_bytes())


def test_urls_are_made_by_the_name_of_an_rpc(app: FlyteAdmin) -> None:
    url = app.url_path_for("GetExecution", id_project="p", id_domain="d", id_name="n")
    assert url == "/api/v1/executions/p/d/n"


def test_the_lifespan_opens_the_database_and_closes_it(app: FlyteAdmin) -> None:
    with client_of(app) as client:
        assert client.get(PROJECTS).status_code == 200
    assert client.get(PROJECTS).status_code == 503


def test_middleware_sees_requests_and_replies(app: FlyteAdmin) -> None:
    class Stamp:
        def __init__(self, inner: ASGIApp) -> None:
            self.inner = inner

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def stamped(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"x-stamp", b"1")]
                await send(message)

            await self.inner(scope, receive, stamped if scope["type"] == "http" else send)

    app.add_middleware(Stamp)
    with client_of(app) as client:
        assert client.get(PROJECTS).headers["x-stamp"] == "1"
        assert client.get("/docs").headers["x-stamp"] == "1"


def test_routes_that_are_added_are_served_beside_the_rpcs(app: FlyteAdmin) -> None:
    @app.get("/api/v1/hello/{name}")
    async def hello(name: str) -> dict[str, str]:
        return {"hello": name}

    @app.get("/hello")
    async def bare() -> str:
        return "hello"

    with client_of(app) as client:
        assert client.get("/api/v1/hello/you").json() == {"hello": "you"}
        assert client.get("/hello").json() == "hello"
        assert client.get(PROJECTS).status_code == 200
        assert client.get("/api/v1/nothing").json()["code"] == 5
        assert client.get("/nothing").json()["code"] == 5
        assert client.put("/api/v1/executions").status_code == 501


def test_exception_handlers_of_the_user_are_called(app: FlyteAdmin) -> None:
    @app.exception_handler(ZeroDivisionError)
    async def answer(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"divided": request.url.path}, status_code=418)

    @app.get("/divide")
    async def divide() -> float:
        return 1 / 0

    with client_of(app) as client:
        assert client.get("/divide").status_code == 418


def test_a_host_application_mounts_it_and_enters_running(app: FlyteAdmin) -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app.running():
            yield

    host = FastAPI(lifespan=lifespan)
    host.mount("/flyte", app)
    client = client_of(host)
    assert client.get(f"/flyte{PROJECTS}").status_code == 503
    assert client.get("/flyte/healthcheck").status_code == 200
    with client:
        assert client.get(f"/flyte{PROJECTS}").status_code == 200
        moved = client.get("/flyte/api//v1/projects", follow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (307, f"/flyte{PROJECTS}")
        assert client.get(f"/flyte{PROJECTS}/none").status_code == 404


def test_the_lifespan_runs_again_without_an_engine_and_is_refused_with_one(settings: Settings) -> None:
    again = create_app(settings)
    for _ in range(2):
        with client_of(again) as client:
            assert client.get(PROJECTS).status_code == 200
    once = create_app(settings.model_copy(update={"engine": settings.engine.model_copy(update={"kind": "local"})}))
    with client_of(once) as client:
        assert client.get(PROJECTS).status_code == 200
    with pytest.raises(RuntimeError, match="create_app"), client_of(once):
        pass


def test_a_prefix_that_needs_escaping_is_escaped_in_redirects(app: FlyteAdmin) -> None:
    host = FastAPI()
    host.mount("/日 b", app)
    with client_of(app):
        moved = client_of(host).get(f"/日 b/api//{PROJECTS}", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (307, f"/%E6%97%A5%20b/api{PROJECTS}")


def test_grpc_is_served_below_the_prefix_of_a_mounted_application(app: FlyteAdmin) -> None:
    async def call(path: str) -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": bytes(5), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "http_version": "2",
            "scheme": "http",
            "path": path,
            "root_path": "/flyte",
            "headers": [(b"content-type", b"application/grpc"), (b"te", b"trailers")],
            "extensions": {"http.response.trailers": {}},
        }
        async with app.running():
            await app(scope, receive, send)
        return sent

    for path in ("/flyte/flyteidl.service.AdminService/GetVersion", "/flyteidl.service.AdminService/GetVersion"):
        assert dict(asyncio.run(call(path))[-1]["headers"])[b"grpc-status"] == b"0"


def test_websockets_of_unknown_paths_are_refused(client: TestClient) -> None:
    for path in ("/", PROJECTS):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(path):
            pass


@pytest.mark.slow
@pytest.mark.smoke
def test_four_frames_at_most_lie_between_the_router_and_a_service_function(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def spy(ctx: Any, request: Any) -> Any:
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_qualname != "RestRouter.app":
            if "/app/" in frame.f_code.co_filename:
                seen.append(frame.f_code.co_qualname)
            frame = frame.f_back
        raise RuntimeError("seen")

    route = next(route for route in create_app(settings).routes if getattr(route, "name", "") == "CreateExecution")
    assert route.rpc.function is executions.create_execution  # type: ignore[attr-defined]
    monkeypatch.setattr(type(route.rpc), "function", property(lambda self: spy), raising=False)  # type: ignore[attr-defined]
    with client_of(create_app(settings)) as client:
        assert client.post("/api/v1/executions", json={}).status_code == 500
    assert 0 < len(seen) <= 4, seen


@pytest.mark.slow
def test_a_server_without_authentication_imports_none_of_its_libraries() -> None:
    check = "import sys, app.main, app.server.serve; print({'jwt', 'alembic', 'mcp'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "set()\n"
