"""Gzip: which replies have it, for whom, and that their bodies are the same."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import project_pb2
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from app import errors
from app.api.http.compression import Gzip, accepts_gzip
from app.api.rest.router import RestRouter, routes_of
from app.api.routers import ALL
from app.main import create_app
from app.runtime.context import Context
from app.settings import Settings
from tests.api.asgi import Answer, ask
from tests.api.edge import server_of

JSON = {"accept": "application/json"}
GZIP = {**JSON, "accept-encoding": "gzip"}
BYTES_MIN = 4096


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("deflate, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("gzip;q=0.8, identity;q=0.8", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip ; q=0.000", False),
        ("*;q=0", False),
        ("*, gzip;q=0", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=much", False),
        ("gzip;q=nan", False),
        ("gzip;q=-1", False),
        ("gzip;q=7", False),
        ("gzipped", False),
        ("," * 2000 + "gzip", False),
    ],
)
def test_what_a_client_accepts(given: str, wanted: bool) -> None:
    assert accepts_gzip([(b"accept", b"gzip"), (b"accept-encoding", given.encode())]) is wanted


def test_several_headers_count_as_one() -> None:
    assert accepts_gzip([(b"accept-encoding", b"br"), (b"accept-encoding", b"gzip")])
    assert not accepts_gzip([(b"accept-encoding", b"gzip"), (b"accept-encoding", b"gzip;q=0")])


class Rest:
    """REST whose every RPC answers a project with a description of a size."""

    def __init__(self, folder: Path, runner: asyncio.Runner, **limits: Any) -> None:
        self.size = 10_000
        self.error: errors.FlyteError | None = None
        self.called = 0
        self.server = server_of(folder, limits=limits)
        self.runner = runner

        async def function(ctx: Context, request: Message) -> Message:
            self.called += 1
            if self.error is not None:
                raise self.error
            return project_pb2.Project(id="p", description="x" * self.size)

        rpcs = (dataclasses.replace(rpc, function=function) for rpc in ALL if rpc.name in ("GetProject", "GetTask"))
        self.app = RestRouter(self.server, routes_of(rpcs))
        runner.run(self.server.database.open())

    def __call__(self, headers: dict[str, str], verb: str = "GET", path: str = "/api/v1/projects/p") -> Answer:
        return self.runner.run(ask(self.app, verb, path, headers))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture
def rest(tmp_path: Path, runner: asyncio.Runner) -> Iterator[Rest]:
    made = Rest(tmp_path, runner)
    yield made
    runner.run(made.server.database.close())


def test_large_json_is_compressed_for_those_who_accept_it(rest: Rest) -> None:
    plain, packed = rest(JSON), rest(GZIP)
    assert (plain.headers["vary"], packed.headers["vary"]) == ("Accept-Encoding", "Accept-Encoding")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["content-length"] == str(len(packed.body))
    assert len(packed.body) < len(plain.body) / 20
    assert gzip.decompress(packed.body) == plain.body


def test_the_largest_bodies_are_compressed_in_a_thread(rest: Rest) -> None:
    rest.size = 2_000_000
    assert gzip.decompress(rest(GZIP).body) == rest(JSON).body


def test_small_replies_are_as_before(rest: Rest) -> None:
    rest.size = BYTES_MIN
    while len(rest(JSON).body) >= BYTES_MIN:
        rest.size -= 1
    assert rest(GZIP) == rest(JSON)
    assert set(rest(GZIP).headers) == {"content-type", "grpc-metadata-content-type", "content-length"}
    rest.size += 1
    assert len(rest(JSON).body) == BYTES_MIN
    assert rest(GZIP).headers["content-encoding"] == "gzip"


def test_binary_replies_and_trailers(rest: Rest) -> None:
    binary = rest({**GZIP, "accept": "application/octet-stream"})
    assert not {"content-encoding", "vary"} & set(binary.headers)
    chunked = rest({**GZIP, "te": "trailers"})
    assert "content-length" not in chunked.headers
    assert gzip.decompress(chunked.body) == rest(JSON).body


def test_large_errors_are_compressed(rest: Rest) -> None:
    rest.error = errors.NotFound("y" * 9000)
    packed = rest(GZIP)
    assert (packed.status, packed.headers["content-encoding"]) == (404, "gzip")
    assert gzip.decompress(packed.body) == rest(JSON).body


def test_cached_replies_keep_their_compressed_form(rest: Rest) -> None:
    path = "/api/v1/tasks/p/d/n/v"
    first, again, plain = (rest(headers, path=path) for headers in (GZIP, GZIP, JSON))
    assert rest.called == 1
    assert first == again
    assert gzip.decompress(again.body) == plain.body
    kept = [value for key, value in rest.server.cache._recent.items() if key[0] == "gzip"]
    assert kept == [again.body]
    # The compressed form has no entry of its own that a caller could name.
    assert rest(GZIP, path="/api/v1/tasks/p/d/n/gzip").headers["content-encoding"] == "gzip"
    assert rest.called == 2


def test_none_is_compressed_where_the_setting_is_0(tmp_path: Path, runner: asyncio.Runner) -> None:
    rest = Rest(tmp_path, runner, gzip_reply_bytes_min=0)
    assert rest(GZIP) == rest(JSON)
    runner.run(rest.server.database.close())


class Pieces:
    """Pages of one kind each; `sent` counts the pieces that a stream has handed over."""

    def __init__(self) -> None:
        self.sent = 0

        async def stream(request: Request) -> Response:
            return StreamingResponse(self._pieces(), media_type="text/plain", headers={"accept-ranges": "bytes"})

        async def text(request: Request) -> Response:
            query = dict(request.query_params)
            status, size = int(query.pop("status", "200")), int(query.pop("size", "5000"))
            return Response("z" * size, status, headers=query)

        self.app = Gzip(Starlette(routes=[Route("/stream", stream), Route("/text", text)]), BYTES_MIN)

    async def _pieces(self) -> AsyncIterator[bytes]:
        for number in range(3):
            self.sent = number + 1
            yield b"piece %d " % number * 20_000


def get(app: Any, path: str, headers: dict[str, str] = GZIP, verb: str = "GET") -> Answer:
    return asyncio.run(ask(app, verb, path, headers))


def test_a_stream_is_compressed_piece_by_piece() -> None:
    pages, received = Pieces(), []

    async def main() -> None:
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                assert headers[b"content-encoding"] == b"gzip"
                assert not {b"content-length", b"accept-ranges"} & set(headers)
            else:
                received.append((pages.sent, decoder.decompress(message["body"])))

        scope = {"type": "http", "method": "GET", "path": "/stream", "query_string": b"", "http_version": "1.1"}
        await pages.app({**scope, "headers": [(b"accept-encoding", b"gzip")]}, asyncio.Event().wait, send)

    asyncio.run(main())
    assert [(sent, piece[:8]) for sent, piece in received] == [
        (1, b"piece 0 "),
        (2, b"piece 1 "),
        (3, b"piece 2 "),
        (3, b""),
    ]
    assert sum(len(piece) for _, piece in received) == 3 * 160_000


@pytest.mark.parametrize(
    ("query", "compressed"),
    [
        ("content-type=text/html", True),
        ("content-type=application/json", True),
        ("content-type=text/html&size=4095", False),
        ("content-type=text/html&size=0", False),
        ("content-type=text/html&status=206", False),
        ("content-type=text/html&status=404", True),
        ("content-type=text/html&content-encoding=br", False),
        ("content-type=text/html&cache-control=private, no-transform", False),
        ("content-type=text/event-stream", False),
        ("content-type=image/png", False),
        ("content-type=application/octet-stream", False),
    ],
)
def test_which_pages_are_compressed(query: str, compressed: bool) -> None:
    answer = get(Pieces().app, f"/text?{query}")
    assert (answer.headers.get("content-encoding") == "gzip") is compressed
    if compressed:
        assert gzip.decompress(answer.body) == b"z" * 5000
        assert answer.headers["vary"] == "Accept-Encoding"
        assert "content-length" not in answer.headers
    else:
        assert int(answer.headers["content-length"]) == len(answer.body)


def test_etags_of_compressed_pages_are_weak() -> None:
    path = "/text?content-type=text/css&etag="
    assert get(Pieces().app, path + '"1"').headers["etag"] == 'W/"1"'
    assert get(Pieces().app, path + 'W/"1"').headers["etag"] == 'W/"1"'
    assert get(Pieces().app, path + '"1"', JSON).headers["etag"] == '"1"'


def test_head_has_no_body_to_compress() -> None:
    answer = get(Pieces().app, "/text?content-type=text/css", verb="HEAD")
    assert "content-encoding" not in answer.headers
    assert answer.headers["vary"] == "Accept-Encoding"


def test_the_pages_of_the_server(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path, storage={"url": str(tmp_path / "store")}))
    document = get(app, "/openapi.json", {**GZIP, "host": "localhost"})
    assert document.headers["content-encoding"] == "gzip"
    assert gzip.decompress(document.body) == get(app, "/openapi.json", {**JSON, "host": "localhost"}).body
    assert "content-encoding" not in get(app, "/healthz/live", {**GZIP, "host": "localhost"}).headers


def test_plain_text_of_a_page_without_gzip() -> None:
    async def text(request: Request) -> Response:
        return PlainTextResponse("a" * 10_000)

    answer = get(Gzip(Starlette(routes=[Route("/", text)]), 0), "/")
    assert (len(answer.body), "vary" in answer.headers) == (10_000, False)
