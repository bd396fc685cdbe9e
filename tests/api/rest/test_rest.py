"""REST as upstream's gateway answers it; expectations were compared with that gateway on the same requests."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import orjson
import pytest
import structlog
from flyteidl.admin import common_pb2, event_pb2, execution_pb2, project_pb2, task_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2
from structlog.testing import capture_logs

from app import errors
from app.api.rest.router import RestRouter, routes_of
from app.api.routers import ALL
from app.runtime.context import Context
from app.runtime.dispatch import PRINCIPAL_KEY, Server
from app.runtime.rows import Rpc
from app.wire.page import Page
from tests.api.asgi import Answer, ask
from tests.api.edge import server_of

JSON = "application/json"
BINARY = "application/octet-stream"
FORM = "application/x-www-form-urlencoded"
MESSAGE_BYTES_MAX = 4096
VALUES_MAX = 1000
PROJECTS = {"projects": [], "token": ""}


def _text_at(message: Message, path: str) -> Any:
    """Return the value of a dotted field path."""
    return functools.reduce(getattr, path.split("."), message)


class Api:
    """REST over all rows of the product, behind which one function answers what the test wants."""

    def __init__(self, server: Server, runner: asyncio.Runner) -> None:
        self.called: tuple[str, Any] | None = None
        self.context: Context | None = None
        self.outcome: Callable[[], Any] | None = None
        self.runner = runner
        # Nothing is immutable here: what is asked for twice must reach the function twice.
        rpcs = (dataclasses.replace(rpc, function=self._function(rpc), immutable=False) for rpc in ALL)
        self.app = RestRouter(server, routes_of(rpcs))

    def _function(self, rpc: Rpc) -> Any:
        async def function(ctx: Context, request: Message) -> Message:
            self.called, self.context = (rpc.name, request), ctx
            outcome = self.outcome() if self.outcome is not None else rpc.response()
            reply: Message = await outcome if asyncio.iscoroutine(outcome) else outcome
            return reply

        return function

    def __call__(
        self, verb: str, target: str, headers: dict[str, str] | None = None, body: bytes | None = None, **more: Any
    ) -> Answer:
        """Ask, within ten seconds, with Accept: application/json unless headers say otherwise."""
        headers = {"Accept": JSON, **(headers or {})}
        headers = {name: value for name, value in headers.items() if value}
        self.called = None
        return self.runner.run(asyncio.wait_for(ask(self.app, verb, target, headers, body, **more), 10))

    def refused(self, verb: str, target: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Any:
        """(status, code, message) of an answer that has not reached the function."""
        answer = self(verb, target, headers, body)
        assert self.called is None
        assert answer.json["details"] == []
        return answer.status, answer.json["code"], answer.json["message"]

    def bound(self, verb: str, target: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Any:
        """The name and the request of the function that was called."""
        answer = self(verb, target, headers, body)
        assert answer.status == 200, answer.body
        return self.called


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, asyncio.Runner]]:
    server = server_of(
        tmp_path_factory.mktemp("rest"),
        limits={"body_wait_seconds_max": 0.3, "json_values_max": VALUES_MAX},
        server={"grpc": {"max_message_size_bytes": MESSAGE_BYTES_MAX}},
    )
    with asyncio.Runner() as runner:
        runner.run(server.database.open())
        yield server, runner
        runner.run(server.database.close())


@pytest.fixture
def api(running: tuple[Server, asyncio.Runner]) -> Api:
    return Api(*running)


class TestEncodings:
    @pytest.mark.parametrize(
        ("headers", "camel"),
        [
            ({"Accept": JSON}, False),
            ({"Accept": ""}, True),
            ({"Accept": "*/*"}, True),
            ({"Accept": "application/json;q=0.9"}, True),
            ({"Accept": "application/json, text/plain, */*"}, True),
            ({"Accept": "Application/JSON"}, True),
            ({"Accept": "text/html", "Content-Type": JSON}, False),
            ({"Accept": "", "Content-Type": "application/json; charset=utf-8"}, False),
            ({"Accept": "", "Content-Type": "text/plain"}, True),
        ],
    )
    def test_which_spelling(self, api: Api, headers: dict[str, str], camel: bool) -> None:
        answer = api("GET", "/api/v1/tasks/p/d/n/v", headers)
        assert answer.status == 200
        assert answer.headers == {
            "content-type": JSON,
            "grpc-metadata-content-type": "application/grpc",
            "content-length": str(len(answer.body)),
        }
        assert ("shortDescription" if camel else "short_description") in answer.json

    def test_the_first_known_accept_counts(self, api: Api) -> None:
        scope = {"headers": [(b"accept", b"text/html"), (b"accept", BINARY.encode()), (b"accept", JSON.encode())]}
        answer = api("GET", "/api/v1/projects", scope=scope)
        assert answer.headers["content-type"] == BINARY

    def test_binary(self, api: Api) -> None:
        api.outcome = lambda: project_pb2.Project(id="p")
        answer = api("GET", "/api/v1/projects/p", {"Accept": BINARY})
        assert project_pb2.Project.FromString(answer.body) == project_pb2.Project(id="p")
        assert answer.headers["content-type"] == BINARY

    def test_binary_body_answers_binary_unless_told_otherwise(self, api: Api) -> None:
        request = project_pb2.ProjectRegisterRequest(project={"id": "x"})
        raw = request.SerializeToString()
        assert (
            api("POST", "/api/v1/projects", {"Accept": "", "Content-Type": BINARY}, raw).headers["content-type"]
            == BINARY
        )
        assert api.called == ("RegisterProject", request)
        assert api("POST", "/api/v1/projects", {"Content-Type": BINARY}, raw).json == {}

    def test_strict_and_lenient(self, api: Api) -> None:
        body = b'{"project":{"id":"x","colour":"red"}}'
        expected = project_pb2.ProjectRegisterRequest(project={"id": "x"})
        assert api.bound("POST", "/api/v1/projects", {"Content-Type": "text/plain"}, body) == (
            "RegisterProject",
            expected,
        )
        assert api.bound("POST", "/api/v1/projects", {}, body) == ("RegisterProject", expected)
        said = api.refused("POST", "/api/v1/projects", {"Content-Type": JSON}, body)
        assert said == (400, 3, 'proto: (line 1:22): unknown field "colour"')

    def test_bytes_that_are_no_message(self, api: Api) -> None:
        said = api.refused("POST", "/api/v1/projects", {"Content-Type": BINARY}, b'{"project":{}}')
        assert said == (400, 3, "proto: cannot parse invalid wire-format data")


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (errors.Canceled("m"), 499),
            (errors.Unknown("m"), 500),
            (errors.InvalidArgument("m"), 400),
            (errors.DeadlineExceeded("m"), 504),
            (errors.NotFound("m"), 404),
            (errors.AlreadyExists("m"), 409),
            (errors.PermissionDenied("m"), 403),
            (errors.ResourceExhausted("m"), 429),
            (errors.FailedPrecondition("m"), 400),
            (errors.Aborted("m"), 409),
            (errors.OutOfRange("m"), 400),
            (errors.Unimplemented("m"), 501),
            (errors.Internal("m"), 500),
            (errors.Unavailable("m"), 503),
            (errors.Unauthenticated("m"), 401),
        ],
    )
    def test_every_code(self, api: Api, error: errors.FlyteError, status: int) -> None:
        api.outcome = raising(error)
        answer = api("GET", "/api/v1/projects")
        assert (answer.status, answer.json) == (status, {"code": error.code, "message": "m", "details": []})
        assert "grpc-metadata-content-type" not in answer.headers
        challenge = 'Bearer realm="flyteadmin", error="invalid_token", error_description="m"'
        assert answer.headers.get("www-authenticate") == (challenge if status == 401 else None)

    def test_a_challenge_fits_into_a_header_whatever_it_says(self, api: Api) -> None:
        api.outcome = raising(errors.Unauthenticated('a\r\nb"日\\'))
        challenge = api("GET", "/api/v1/projects").headers["www-authenticate"]
        assert challenge == 'Bearer realm="flyteadmin", error="invalid_token", error_description="a??b\'??"'

    def test_details(self, api: Api) -> None:
        reason = event_pb2.EventFailureReason(incompatible_cluster={"cluster": "c"})
        api.outcome = raising(errors.FailedPrecondition("no", details=(reason,)))
        type_ = "type.googleapis.com/flyteidl.admin.EventFailureReason"
        answer = api("POST", "/api/v1/events/workflows")
        assert answer.json["details"] == [{"@type": type_, "incompatible_cluster": {"cluster": "c"}}]
        answer = api("POST", "/api/v1/events/workflows", {"Accept": ""})
        assert answer.json["details"] == [{"@type": type_, "incompatibleCluster": {"cluster": "c"}}]
        status = status_pb2.Status.FromString(api("POST", "/api/v1/events/workflows", {"Accept": BINARY}).body)
        assert (status.code, status.details[0].value) == (9, reason.SerializeToString())

    def test_what_nobody_foresaw_is_logged_once_and_never_told(self, api: Api) -> None:
        api.outcome = raising(ZeroDivisionError("secret"))
        with capture_logs(processors=[structlog.processors.format_exc_info]) as logs:
            answer = api("GET", "/api/v1/projects", {"X-Request-Id": "r-1"})
        assert (answer.status, answer.json) == (500, {"code": 13, "message": "", "details": []})
        assert [line["event"] for line in logs] == ["rpc_failed"]
        assert logs[0]["request_id"] == "r-1"
        assert "ZeroDivisionError: secret" in logs[0]["exception"]

    def test_a_row_that_cannot_be_shown_is_as_little_foreseen(self, api: Api) -> None:
        def broken(row: Any) -> project_pb2.Project:
            return project_pb2.Project.FromString(row.labels)

        row = namedtuple("row", ["labels"])
        api.outcome = lambda: Page(project_pb2.Projects(), [row(b"\xff")], broken)
        with capture_logs() as logs:
            answer = api("GET", "/api/v1/projects")
        assert (answer.status, answer.json) == (500, {"code": 13, "message": "", "details": []})
        assert [line["event"] for line in logs] == ["rpc_failed"]

    def test_a_timeout_inside_the_function_is_not_the_clients_deadline(self, api: Api) -> None:
        api.outcome = raising(TimeoutError("inner"))
        with capture_logs() as logs:
            assert api("GET", "/api/v1/projects", {"Grpc-Timeout": "5S"}).json["code"] == 13
        assert len(logs) == 1


def raising(error: Exception) -> Callable[[], Any]:
    def outcome() -> Any:
        raise error

    return outcome


class TestRouting:
    @pytest.mark.parametrize(
        "path", ["/", "/api", "/api/v1/nothing", "/API/v1/domains", "/api/v1/domains/", "/login", "/healthcheck/x"]
    )
    def test_unknown_paths(self, api: Api, path: str) -> None:
        for verb in ("GET", "POST", "BREW"):
            assert api.refused(verb, path) == (404, 5, "Not Found")

    @pytest.mark.parametrize(
        ("verb", "path"),
        [
            ("PUT", "/api/v1/projects"),
            ("DELETE", "/api/v1/projects"),
            ("PATCH", "/api/v1/projects"),
            ("BREW", "/api/v1/projects"),
            ("GET", "/api/v1/events/workflows"),
            ("POST", "/me"),
        ],
    )
    def test_wrong_verbs(self, api: Api, verb: str, path: str) -> None:
        assert api.refused(verb, path) == (501, 12, "Method Not Allowed")

    def test_routing_errors_come_in_the_encoding_that_was_asked_for(self, api: Api) -> None:
        status = status_pb2.Status.FromString(api("GET", "/api/v1/nothing", {"Accept": BINARY}).body)
        assert (status.code, status.message) == (5, "Not Found")

    def test_head_says_how_long_its_answer_would_be(self, api: Api) -> None:
        answer = api("HEAD", "/api/v1/projects")
        assert (answer.status, answer.body) == (501, b"")
        assert int(answer.headers["content-length"]) == len(api("PUT", "/api/v1/projects").body)

    @pytest.mark.parametrize("verb", ["GET", "POST", "HEAD", "PUT", "BREW"])
    def test_health(self, api: Api, verb: str) -> None:
        answer = api(verb, "/healthcheck")
        assert (answer.status, answer.headers, answer.body) == (200, {"content-length": "0"}, b"")

    @pytest.mark.parametrize(
        ("path", "id_"),
        [
            ("/api/v1/tasks/p/d/n/v", ("p", "d", "n", "v")),
            ("/api/v1/tasks/p/d/n/", ("p", "d", "n", "")),
            ("/api/v1/tasks/p/d/n/feat%2Fx%2f", ("p", "d", "n", "feat/x/")),
            ("/api/v1/tasks/p/d/a%252Fb/%3F%25%23;v=1", ("p", "d", "a%2Fb", "?%#;v=1")),
            ("/api/v1/tasks/p/d/%2F/%2E%2E", ("p", "d", "/", "..")),
            ("/api/v1/%74asks/p/d/n:activate/v:1", ("p", "d", "n:activate", "v:1")),
            ("/api/v1/tasks/p/d/%C3%A9%20+:x/v%00", ("p", "d", "é +:x", "v\0")),
        ],
    )
    def test_variables(self, api: Api, path: str, id_: tuple[str, ...]) -> None:
        name, request = api.bound("GET", path)
        assert (name, (request.id.project, request.id.domain, request.id.name, request.id.version)) == ("GetTask", id_)

    def test_an_escaped_slash_divides_nothing(self, api: Api) -> None:
        assert api.refused("GET", "/api%2Fv1/projects") == (404, 5, "Not Found")
        assert api.bound("GET", "/api/v1/executions/p%2Fd/x")[1].id.project == "p/d"
        assert api("GET", "/api/v1/tasks//p%2Fq").headers["location"] == "/api/v1/tasks/p%2Fq"

    def test_an_empty_last_variable(self, api: Api) -> None:
        assert api.bound("GET", "/api/v1/projects/") == ("GetProject", project_pb2.ProjectGetRequest())
        assert api.bound("GET", "/api/v1/executions/p/d/")[0] == "GetExecution"

    @pytest.mark.parametrize("path", ["/%zz", "/api/v1/projects/%2", "/%"])
    def test_broken_escapes(self, api: Api, path: str) -> None:
        assert api.refused("GET", path)[:2] == (400, 3)

    def test_a_path_that_is_none(self, api: Api) -> None:
        assert api.refused("GET", "*") == (400, 3, "Bad Request")

    @pytest.mark.parametrize(
        ("target", "location"),
        [
            ("/api//v1/domains", "/api/v1/domains"),
            ("/api/v1/./domains/", "/api/v1/domains/"),
            ("/api/v1/tasks/../domains", "/api/v1/domains"),
            ("/api/v1/tasks/p/..", "/api/v1/tasks"),
            ("//evil.example/%2e", "/evil.example/%2e"),
            ("//", "/"),
            ("/../..", "/"),
            ("/a//b%20c?x=1&y=%22", "/a/b%20c?x=1&y=%22"),
        ],
    )
    def test_unclean_paths_are_redirected(self, api: Api, target: str, location: str) -> None:
        answer = api("GET", target)
        assert (answer.status, answer.headers["location"]) == (307, location)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        shown = location.replace("&", "&amp;")
        assert answer.body.decode() == f'<a href="{shown}">Temporary Redirect</a>.\n\n'
        posted = api("POST", target, {}, b"{}")
        assert (posted.status, posted.headers["location"], posted.body) == (307, location, b"")
        assert "content-type" not in posted.headers

    def test_dots_inside_a_name_are_no_steps(self, api: Api) -> None:
        assert api.bound("GET", "/api/v1/projects/...")[1].id == "..."

    def test_every_binding_reaches_its_function(self, api: Api) -> None:
        for rpc in ALL:
            for binding in rpc.bindings:
                path = "/".join("1" if "{" in part else part for part in binding.template.split("/"))
                name, request = api.bound(binding.verb, path, {}, b"{}" if binding.body else None)
                assert (name, type(request)) == (rpc.name, rpc.request)
                # Each variable has got its value, or the binding would lead to another object.
                values = request.SerializeToString(deterministic=True)
                assert values.count(b"1") + values.count(b"\x01") >= binding.template.count("{")

    @pytest.mark.parametrize("value", ["feat/x", "/", "a%2Fb", "50%", "a?b#c", "é ü", "v:1", "a+b", ".."])
    def test_every_binding_takes_any_text_for_a_variable(self, api: Api, value: str) -> None:
        for rpc in ALL:
            for binding in rpc.bindings:
                *_, last = binding.template.split("/")
                if not last.startswith("{") or not isinstance(_text_at(rpc.request(), last[1:-1]), str):
                    continue
                parts = [quote(value, safe="") if part == last else "1" if "{" in part else part for part in [*_, last]]
                target = "/".join(parts).replace("..", "%2E%2E")
                name, request = api.bound(binding.verb, target, {}, b"{}" if binding.body else None)
                assert (name, _text_at(request, last[1:-1])) == (rpc.name, value)


class TestSpelling:
    @pytest.mark.parametrize(
        ("accept", "content_type", "name"),
        [
            (JSON, JSON, b"native_url"),
            ("*/*", JSON, b"native_url"),
            ("", "text/plain", b"nativeUrl"),
            ("*/*", "application/json; names=camel", b"nativeUrl"),
            ("*/*", "application/json;charset=utf-8;names=camel", b"nativeUrl"),
            ("application/json; names=camel", JSON, b"nativeUrl"),
            (JSON, "application/json; names=camel", b"native_url"),
        ],
    )
    def test_names_follow_accept_and_then_the_type_of_the_body(
        self, api: Api, accept: str, content_type: str, name: bytes
    ) -> None:
        headers = {"Accept": accept, "Content-Type": content_type}
        assert name in api("POST", "/api/v1/dataproxy/artifact_urn", headers, b"{}").body


class TestQueries:
    def test_fields(self, api: Api) -> None:
        name, request = api.bound("GET", "/api/v1/tasks/p/d?limit=5&sortBy.key=name&sort_by.direction=ASCENDING&x=1")
        expected = common_pb2.ResourceListRequest(
            id={"project": "p", "domain": "d"}, limit=5, sort_by={"key": "name", "direction": "ASCENDING"}
        )
        assert (name, request) == ("ListTasks", expected)

    def test_the_path_wins(self, api: Api) -> None:
        assert api.bound("GET", "/api/v1/tasks/p/d?id.project=other&id.name=n")[1].id.project == "p"

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("/api/v1/projects?limit=ten", 'parsing field "limit": strconv.ParseUint: parsing "ten": invalid syntax'),
            ("/api/v1/projects?a;b", "invalid semicolon separator in query"),
            ("/api/v1/projects?token=%zz", 'invalid URL escape "%zz"'),
            ("/api/v1/named_entities/X/p/d/n", "type mismatch, parameter: resource_type, error: X is not valid"),
            ("/api/v1/projects/%FF", "grpc: error while marshaling: string field contains invalid UTF-8"),
        ],
    )
    def test_refusals(self, api: Api, target: str, message: str) -> None:
        assert api.refused("GET", target) == (400, 3, message)

    def test_requests_without_fields_do_not_look(self, api: Api) -> None:
        assert api.bound("GET", "/api/v1/version?a;b")[0] == "GetVersion"

    def test_bindings_with_a_body_do_not_look(self, api: Api) -> None:
        name, request = api.bound("DELETE", "/api/v1/project_attributes/p?resource_type=TASK&a;b", {}, b"")
        assert (name, request.resource_type) == ("DeleteProjectAttributes", 0)


class TestForms:
    def test_a_form_to_a_path_that_only_gets_is_a_get(self, api: Api) -> None:
        name, request = api.bound("POST", "/api/v1/tasks/p/d?token=x", {"Content-Type": FORM}, b"limit=5&filters=a%2Bb")
        assert (name, request.limit, request.token, request.filters) == ("ListTasks", 5, "x", "a+b")

    def test_values_of_body_and_query_add_up(self, api: Api) -> None:
        said = api.refused("POST", "/api/v1/tasks/p/d?limit=3", {"Content-Type": FORM}, b"limit=5")
        assert said == (400, 3, 'too many values for field "limit": 5, 3')

    def test_where_posts_are_taken_a_form_is_no_json(self, api: Api) -> None:
        said = api.refused("POST", "/api/v1/projects", {"Content-Type": FORM}, b"a=b")
        assert said == (400, 3, "invalid character 'a' looking for beginning of value")

    def test_the_content_type_must_be_that_and_nothing_more(self, api: Api) -> None:
        said = api.refused("POST", "/api/v1/tasks/p/d", {"Content-Type": FORM + "; charset=utf-8"}, b"limit=5")
        assert said == (501, 12, "Method Not Allowed")

    @pytest.mark.parametrize("override", ["GET", "get"])
    def test_an_override_makes_a_form_anything(self, api: Api, override: str) -> None:
        headers = {"Content-Type": FORM, "X-HTTP-Method-Override": override}
        assert api.bound("POST", "/api/v1/projects", headers, b"limit=5") == (
            "ListProjects",
            project_pb2.ProjectListRequest(limit=5),
        )

    def test_an_override_to_a_verb_with_a_body_finds_it_gone(self, api: Api) -> None:
        headers = {"Content-Type": FORM, "X-HTTP-Method-Override": "PUT"}
        expected = project_pb2.Project(id="p")
        assert api.bound("POST", "/api/v1/projects/p", headers, b"a=b") == ("UpdateProject", expected)
        assert api.refused("POST", "/api/v1/projects", headers, b"a=b") == (501, 12, "Method Not Allowed")
        assert api.refused("POST", "/api/v1/projects/p", headers, b"a;b")[2] == "invalid semicolon separator in query"

    def test_an_override_counts_for_forms_alone(self, api: Api) -> None:
        headers = {"Content-Type": JSON, "X-HTTP-Method-Override": "GET"}
        assert api.bound("POST", "/api/v1/projects", headers, b"{}")[0] == "RegisterProject"


class TestBodies:
    def test_the_path_wins(self, api: Api) -> None:
        body = b'{"id":{"project":"other","name":"other","org":"o"},"state":"EXECUTION_ARCHIVED"}'
        name, request = api.bound("PUT", "/api/v1/executions/p/d/n", {"Content-Type": JSON}, body)
        expected = execution_pb2.ExecutionUpdateRequest(
            id={"project": "p", "domain": "d", "name": "n", "org": "o"}, state="EXECUTION_ARCHIVED"
        )
        assert (name, request) == ("UpdateExecution", expected)

    @pytest.mark.parametrize("body", [b"", b" ", None])
    def test_nothing_is_an_empty_message(self, api: Api, body: bytes | None) -> None:
        assert api.bound("POST", "/api/v1/tasks", {"Content-Type": JSON}, body) == (
            "CreateTask",
            task_pb2.TaskCreateRequest(),
        )

    def test_delete_takes_a_body_or_none(self, api: Api) -> None:
        assert api.bound("DELETE", "/api/v1/executions/p/d/n", {}, b'{"cause":"c"}')[1].cause == "c"
        assert api.bound("DELETE", "/api/v1/executions/p/d/n")[1].cause == ""

    @pytest.mark.parametrize(
        ("verb", "path", "version"),
        [
            ("GET", "/api/v1/projects", "1.1"),
            ("GET", "/api/v1/projects", "2"),
            ("HEAD", "/api/v1/projects", "2"),
            ("DELETE", "/api/v1/executions/p/d/n", "2"),
            ("DELETE", "/api/v1/executions/p/d/n", "1.1"),
            ("POST", "/api/v1/tasks", "1.1"),
        ],
    )
    def test_nobody_waits_for_a_body_that_is_not_announced(self, api: Api, verb: str, path: str, version: str) -> None:
        async def receive() -> Any:
            raise AssertionError("asked for the body")

        assert api(verb, path, http_version=version, receive=receive).status in (200, 501)

    def test_a_body_in_pieces_without_a_length(self, api: Api) -> None:
        pieces = [b'{"project":', b"", b'{"id":"x"}}']

        async def receive() -> Any:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        answer = api("POST", "/api/v1/projects", {"Transfer-Encoding": "chunked"}, receive=receive)
        assert answer.status == 200
        assert api.called == ("RegisterProject", project_pb2.ProjectRegisterRequest(project={"id": "x"}))

    def test_a_body_that_does_not_come_is_not_waited_for_forever(self, api: Api) -> None:
        async def receive() -> Any:
            await asyncio.sleep(60)

        answer = api("POST", "/api/v1/projects", {"Content-Length": "5"}, receive=receive)
        assert (answer.status, answer.json["code"]) == (504, 4)
        assert answer.json["message"] == "the body did not arrive within 0.3 seconds"

    def test_a_client_that_leaves_gets_nothing(self, api: Api) -> None:
        async def receive() -> Any:
            return {"type": "http.disconnect"}

        assert api("POST", "/api/v1/projects", {"Content-Length": "5"}, receive=receive).status == 0
        assert api.called is None

    def test_a_message_over_the_limit(self, api: Api) -> None:
        request = project_pb2.ProjectRegisterRequest(project={"id": "x" * MESSAGE_BYTES_MAX})
        size = request.ByteSize()
        said = (429, 8, f"grpc: received message larger than max ({size} vs. {MESSAGE_BYTES_MAX})")
        body = orjson.dumps({"project": {"id": "x" * MESSAGE_BYTES_MAX}})
        assert api.refused("POST", "/api/v1/projects", {"Content-Type": JSON}, body) == said
        assert api.refused("POST", "/api/v1/projects", {"Content-Type": BINARY}, request.SerializeToString()) == said

    def test_a_long_body_of_a_short_message(self, api: Api) -> None:
        body = b'{"project":{"id":"x"}' + b" " * MESSAGE_BYTES_MAX + b"}"
        assert api.bound("POST", "/api/v1/projects", {"Content-Type": JSON}, body)[1].project.id == "x"

    @pytest.mark.parametrize("declared", [True, False])
    def test_a_body_far_over_the_limit_is_not_even_read(self, api: Api, declared: bool) -> None:
        read = 0

        async def receive() -> Any:
            nonlocal read
            read += 1000
            return {"type": "http.request", "body": b" " * 1000, "more_body": True}

        headers = {"Content-Length": "100000000"} if declared else {"Transfer-Encoding": "chunked"}
        answer = api("POST", "/api/v1/projects", headers, receive=receive)
        assert (answer.status, answer.json["code"]) == (429, 8)
        assert read <= 4 * MESSAGE_BYTES_MAX + 1000
        assert (read == 0) == declared

    def test_large_bodies_and_answers(self, running: tuple[Server, asyncio.Runner]) -> None:
        """How: more than the size from which reading and printing move to a thread."""
        server, runner = running
        settings = server.settings.model_copy(update={"server": type(server.settings)().server})
        api = Api(dataclasses.replace(server, settings=settings), runner)
        text = "x" * 400_000
        api.outcome = lambda: project_pb2.Project(id=text)
        body = orjson.dumps({"project": {"id": text}})
        assert api.bound("POST", "/api/v1/projects", {"Content-Type": JSON}, body)[1].project.id == text
        assert api("GET", "/api/v1/projects/p").json["id"] == text
        said = api.refused("POST", "/api/v1/projects", {"Content-Type": JSON}, body[:-1])
        assert said == (400, 3, "unexpected EOF")


class TestDeadlines:
    @pytest.mark.parametrize("value", ["5", "S", "1X", "xS", "1.5S", "99999999999999999999S", ""])
    def test_malformed(self, api: Api, value: str) -> None:
        if value:
            said = api.refused("GET", "/api/v1/projects", {"Grpc-Timeout": value})
            assert said == (400, 3, f"invalid grpc-timeout: {value}")
        else:
            assert api("GET", "/api/v1/projects", {"Grpc-Timeout": value}).json == PROJECTS

    @pytest.mark.parametrize("value", ["10S", "0S", "1H", "100M", "9223372036854775807H", "10000m", "99999999u"])
    def test_in_time(self, api: Api, value: str) -> None:
        assert api("GET", "/api/v1/projects", {"Grpc-Timeout": value}).json == PROJECTS

    @pytest.mark.parametrize("value", ["50m", "50000u", "50000000n"])
    def test_too_late(self, api: Api, value: str) -> None:
        api.outcome = lambda: asyncio.sleep(60)
        answer = api("GET", "/api/v1/projects", {"Grpc-Timeout": value})
        assert answer.status == 504
        assert answer.json == {"code": 4, "message": "context deadline exceeded", "details": []}

    def test_in_the_past(self, api: Api) -> None:
        answer = api("GET", "/api/v1/projects", {"Grpc-Timeout": "-1S"})
        assert (answer.status, api.called) == (504, None)


class TestContext:
    def test_what_the_function_is_told(self, api: Api) -> None:
        api("GET", "/api/v1/projects", {"X-Request-Id": "r" * 500}, scope={PRINCIPAL_KEY: "alice"})
        assert api.context is not None
        assert (api.context.principal, api.context.request_id) == ("alice", "r" * 128)
        assert api.context.endpoint == "http://here:1"

    def test_request_ids_are_made_where_none_is_given(self, api: Api) -> None:
        made = []
        for _ in range(2):
            api("GET", "/api/v1/projects")
            assert api.context is not None
            made.append(api.context.request_id)
        assert made[0] != made[1]
        assert all(one.startswith("a-") and len(one) == 22 for one in made)


class TestTrailers:
    SCOPE: ClassVar[dict[str, Any]] = {"extensions": {"http.response.trailers": {}}}

    def test_answers_are_chunked(self, api: Api) -> None:
        answer = api("GET", "/api/v1/projects", {"TE": "Trailers"})
        assert answer.json == PROJECTS
        assert "content-length" not in answer.headers

    def test_errors_of_functions_have_one(self, api: Api) -> None:
        api.outcome = raising(errors.NotFound("m"))
        answer = api("GET", "/api/v1/projects", {"TE": "trailers"}, scope=self.SCOPE)
        assert answer.trailers == {"grpc-trailer-content-type": "application/grpc"}
        assert answer.headers["trailer"] == "Grpc-Trailer-Content-Type"
        assert api("GET", "/api/v1/projects", {"TE": "trailers"}).trailers == {}

    def test_errors_of_requests_have_none(self, api: Api) -> None:
        answer = api("GET", "/api/v1/projects?limit=x", {"TE": "trailers"}, scope=self.SCOPE)
        assert (answer.status, answer.trailers) == (400, {})
        assert "content-length" not in answer.headers


def test_a_body_of_too_many_values_is_refused_by_the_name_of_the_setting(api: Api) -> None:
    def body(values: int) -> bytes:
        return json.dumps({"unknown": [0] * (values - 2)}).encode()

    assert api("POST", "/api/v1/projects", {"Accept": ""}, body(VALUES_MAX)).status == 200
    refused = api("POST", "/api/v1/projects", {"Accept": ""}, body(VALUES_MAX + 1))
    assert refused.status == 429
    assert f"more than {VALUES_MAX} JSON values (limits.jsonValuesMax)" in refused.body.decode()


def test_two_rows_for_one_route_are_a_mistake(running: tuple[Server, asyncio.Runner], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="GET /api/v1/version is served twice"):
        RestRouter(running[0], routes_of(rpc for rpc in (*ALL, *ALL) if rpc.name == "GetVersion"))


def test_json_of_answers_has_no_blanks(api: Api) -> None:
    assert api("GET", "/api/v1/projects").body == json.dumps(PROJECTS, separators=(",", ":")).encode()
