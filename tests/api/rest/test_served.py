"""REST through the server that users start, over HTTP/1.1 and HTTP/2, where bodies and connections are real."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.edge import RawConnection, raw
from tests.support.servers import Running, serving

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

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


@pytest.mark.parametrize("version", ["feat/x", "a%2Fb", "?#é +:", "..", "https://h/p?q=1&r"])
def test_versions_and_names_with_any_letters(port: int, connection: http.client.HTTPConnection, version: str) -> None:
    """Registered names and versions can be read, listed and changed over both protocols when they are escaped."""
    name = f"{uuid.uuid4().hex}/{version}"
    id_ = {"project": "flytesnacks", "domain": "development", "name": name, "version": version}
    task = {"type": "raw", "container": {"image": "i"}, "metadata": {"runtime": {"version": "1"}}, "interface": {}}
    plan = {"workflow_id": {**id_, "resource_type": "WORKFLOW"}}
    bodies: dict[str, dict[str, Any]] = {
        "tasks": {"id": {**id_, "resource_type": "TASK"}, "spec": {"template": task}},
        "workflows": {"id": {**id_, "resource_type": "WORKFLOW"}, "spec": {"template": {"interface": {}}}},
        "launch_plans": {"id": {**id_, "resource_type": "LAUNCH_PLAN"}, "spec": plan},
    }
    node = {"id": "n", "task_node": {"reference_id": {**id_, "resource_type": "TASK"}}}
    bodies["workflows"]["spec"]["template"]["nodes"] = [node]
    place = "flytesnacks/development/" + quote(name, safe="").replace(".", "%2E")
    last = quote(version, safe="").replace(".", "%2E")
    for kind, body in bodies.items():
        assert asked(connection, "POST", f"/api/v1/{kind}", json.dumps(body).encode())[0] == 200
        for path in (f"/api/v1/{kind}/{place}/{last}", f"/api/v1/{kind}/{place}/{last}"):
            status, answer = asked(connection, "GET", path)
            assert (status, json.loads(answer)["id"]["version"]) == (200, version)
            with raw(port) as second:
                again = second.answer(second.send(path, method=b"GET", headers=JSON2, content_type=b""))
            assert json.loads(again.body) == json.loads(answer)
        status, answer = asked(connection, "GET", f"/api/v1/{kind}/{place}?limit=5")
        assert [one["id"]["name"] for one in json.loads(answer)[kind]] == [name]
    path = f"/api/v1/launch_plans/{place}/{last}"
    assert asked(connection, "PUT", path, b'{"state": "ACTIVE"}')[0] == 200
    assert json.loads(asked(connection, "GET", f"/api/v1/active_launch_plans/{place}")[1])["id"]["version"] == version
    path = f"/api/v1/named_entities/TASK/{place}"
    assert asked(connection, "PUT", path, b'{"metadata": {"description": "d"}}')[0] == 200
    assert json.loads(asked(connection, "GET", path)[1])["id"]["name"] == name
