"""REST through the server that users start, over HTTP/1.1 and HTTP/2, where bodies and connections are real."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest

from tests.api.edge import RawConnection, raw
from tests.servers import Running, serving

JSON = {"Accept": "application/json", "Content-Type": "application/json"}
JSON2 = ((b"accept", b"application/json"),)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("served")) as server:
        yield port_of(server)


def port_of(server: Running) -> int:
    return int(server.web.rpartition(":")[2])


@pytest.fixture
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    yield connection
    connection.close()


def asked(connection: http.client.HTTPConnection, verb: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection.request(verb, path, body, JSON)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_one_connection_serves_one_request_after_the_other(connection: http.client.HTTPConnection) -> None:
    connection.connect()
    socket = connection.sock
    assert asked(connection, "GET", "/api/v1/domains")[0] == 200
    assert asked(connection, "HEAD", "/api/v1/domains") == (501, b"")
    assert asked(connection, "DELETE", "/api/v1/executions/p/d/n")[0] == 404
    assert asked(connection, "POST", "/api/v1/tasks", b"{")[0] == 400
    assert asked(connection, "GET", "/api//v1/domains")[0] == 307
    assert asked(connection, "GET", "/healthcheck") == (200, b"")
    assert asked(connection, "GET", "/nowhere")[0] == 404
    assert connection.sock is socket


def test_a_body_over_the_limit_is_refused(connection: http.client.HTTPConnection) -> None:
    body = json.dumps({"project": {"id": "x" * 5_000_000}}).encode()
    status, answer = asked(connection, "POST", "/api/v1/projects", body)
    assert (status, json.loads(answer)["code"]) == (429, 8)
    assert asked(connection, "GET", "/healthcheck")[0] == 200


def test_a_chunked_body(connection: http.client.HTTPConnection) -> None:
    pieces = [b'{"project":', b'{"id":"chunked","name":"n"}}']
    connection.request("POST", "/api/v1/projects", iter(pieces), JSON, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"{}")


class TestHttp2:
    @pytest.fixture
    def stream(self, port: int) -> Iterator[RawConnection]:
        with raw(port) as connection:
            yield connection

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            (b"GET", "/api/v1/domains", 200),
            (b"HEAD", "/api/v1/domains", 501),
            (b"DELETE", "/api/v1/executions/p/d/n", 404),
            (b"POST", "/api/v1/projects", 400),
            (b"PUT", "/api/v1/projects/p", 404),
            (b"GET", "/nowhere", 404),
            (b"GET", "/healthcheck", 200),
        ],
    )
    def test_nothing_hangs_without_a_body(self, stream: RawConnection, method: bytes, path: str, status: int) -> None:
        number = stream.send(path, method=method, content_type=b"", headers=JSON2)
        assert stream.answer(number).status == status

    def test_bodies(self, stream: RawConnection) -> None:
        body = b'{"project":{"id":"second","name":"n"}}'
        number = stream.send("/api/v1/projects", body, content_type=b"application/json", headers=JSON2)
        assert (stream.answer(number).status, stream.answer(number).body) == (200, b"{}")
        length = (b"content-length", b"14")
        number = stream.send(
            "/api/v1/executions/p/d/n",
            b'{"cause":"me"}',
            method=b"DELETE",
            content_type=b"application/json",
            headers=(*JSON2, length),
        )
        assert stream.answer(number).status == 404

    def test_trailers_carry_what_upstream_puts_there(self, stream: RawConnection) -> None:
        number = stream.send(
            "/api/v1/projects/nobody", method=b"GET", content_type=b"", headers=(*JSON2, (b"te", b"trailers"))
        )
        answer = stream.answer(number)
        assert (answer.status, answer.trailers) == (404, {b"grpc-trailer-content-type": b"application/grpc"})
