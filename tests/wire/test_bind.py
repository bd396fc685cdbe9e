"""Path variables and query parameters into messages, with upstream's refusals."""

from typing import Any

import pytest
from flyteidl.admin import (
    common_pb2,
    execution_pb2,
    node_execution_pb2,
    project_attributes_pb2,
    project_pb2,
    task_execution_pb2,
)
from flyteidl.core import identifier_pb2, literals_pb2, workflow_pb2
from flyteidl.service import dataproxy_pb2
from google.protobuf.message import Message

from app import errors
from app.wire.bind import merged, path_segments, put_path, put_query, query_pairs, resolve_path

BOUND = frozenset({("id", "project"), ("id", "domain")})


def from_query(type_: type[Message], query: bytes) -> Any:
    message = type_()
    put_query(message, query_pairs(query), BOUND)
    return message


def refusal(type_: type[Message], query: bytes) -> str:
    with pytest.raises(errors.InvalidArgument) as caught:
        from_query(type_, query)
    return caught.value.message


def listed(**fields: Any) -> common_pb2.ResourceListRequest:
    return common_pb2.ResourceListRequest(**fields)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", listed()),
        (b"&&limit=5&", listed(limit=5)),
        (b"limit=007&token=a+b%2Bc&filters=", listed(limit=7, token="a b+c")),
        (b"sort_by.key=name&sort_by.direction=ASCENDING", listed(sort_by={"key": "name", "direction": "ASCENDING"})),
        (b"sortBy.key=name&sortBy.direction=1", listed(sort_by={"key": "name", "direction": "ASCENDING"})),
        (b"id.name=n&id.project=other&id.domain=other", listed(id={"name": "n"})),
        (b"filters=eq(a,b)%2Beq(c,%C3%A9)", listed(filters="eq(a,b)+eq(c,é)")),
        (b"nothing=1&id.nothing=1&=x&.=x", listed(id={})),
        (b"token", listed()),
        (b"token=a=b", listed(token="a=b")),
    ],
)
def test_lists(query: bytes, expected: Message) -> None:
    assert from_query(common_pb2.ResourceListRequest, query) == expected


@pytest.mark.parametrize(
    ("type_", "query", "expected"),
    [
        (dataproxy_pb2.CreateDownloadLocationRequest, b"expires_in=-1m30.5s", (-90, -500_000_000)),
        (dataproxy_pb2.CreateDownloadLocationRequest, b"expiresIn=60s", (60, 0)),
    ],
)
def test_durations(type_: type[Message], query: bytes, expected: tuple[int, int]) -> None:
    duration = from_query(type_, query).expires_in
    assert (duration.seconds, duration.nanos) == expected


@pytest.mark.parametrize(
    ("type_", "query", "expected"),
    [
        (literals_pb2.Primitive, b"boolean=F", literals_pb2.Primitive(boolean=False)),
        (literals_pb2.Primitive, b"float_value=1e3", literals_pb2.Primitive(float_value=1000)),
        (literals_pb2.Primitive, b"datetime=1970-01-01T00:00:01Z", None),
        (literals_pb2.Binary, b"value=_-8", literals_pb2.Binary(value=b"\xff\xef")),
        (
            execution_pb2.ExecutionSpec,
            b"interruptible=true",
            execution_pb2.ExecutionSpec(interruptible={"value": True}),
        ),
        (execution_pb2.ExecutionSpec, b"tags=a&tags=b", execution_pb2.ExecutionSpec(tags=["a", "b"])),
        (execution_pb2.ExecutionSpec, b"tags[x]=b", execution_pb2.ExecutionSpec(tags=["x", "b"])),
        (common_pb2.Labels, b"values[a]=1&values[b]=2", common_pb2.Labels(values={"a": "1", "b": "2"})),
        (workflow_pb2.ArrayNode, b"min_success_ratio=0.1", workflow_pb2.ArrayNode(min_success_ratio=0.1)),
    ],
)
def test_other_kinds(type_: type[Message], query: bytes, expected: Message | None) -> None:
    message = from_query(type_, query)
    if expected is None:
        assert message.datetime.seconds == 1
    else:
        assert message == expected


@pytest.mark.parametrize(
    ("type_", "query", "message"),
    [
        (
            common_pb2.ResourceListRequest,
            b"limit=abc",
            'parsing field "limit": strconv.ParseUint: parsing "abc": invalid syntax',
        ),
        (
            common_pb2.ResourceListRequest,
            b"limit=-1",
            'parsing field "limit": strconv.ParseUint: parsing "-1": invalid syntax',
        ),
        (
            common_pb2.ResourceListRequest,
            b"limit=4294967296",
            'parsing field "limit": strconv.ParseUint: parsing "4294967296": value out of range',
        ),
        (common_pb2.ResourceListRequest, b"limit=5&limit=6", 'too many values for field "limit": 5, 6'),
        (common_pb2.ResourceListRequest, b"limit[0]=6", 'too many values for field "limit": 0, 6'),
        (common_pb2.ResourceListRequest, b"sort_by.direction=7", 'parsing field "direction": "7" is not a valid value'),
        (
            common_pb2.ResourceListRequest,
            b"sort_by.direction=FOO",
            'parsing field "direction": "FOO" is not a valid value',
        ),
        (
            common_pb2.ResourceListRequest,
            b"sort_by.direction=99999999999",
            'parsing field "direction": "99999999999" is not a valid value',
        ),
        (
            common_pb2.ResourceListRequest,
            b"sort_by=name",
            'parsing field "sort_by": unsupported message type: "flyteidl.admin.Sort"',
        ),
        (common_pb2.ResourceListRequest, b"limit.x=1", 'invalid path: "limit" is not a message'),
        (common_pb2.ResourceListRequest, b"a;b=1", "invalid semicolon separator in query"),
        (common_pb2.ResourceListRequest, b"token=%zz", 'invalid URL escape "%zz"'),
        (common_pb2.ResourceListRequest, b"token=%2", 'invalid URL escape "%2"'),
        (
            common_pb2.ResourceListRequest,
            b"token=%FF",
            "grpc: error while marshaling: string field contains invalid UTF-8",
        ),
        (execution_pb2.ExecutionSpec, b"max_parallelism=x", None),
        (
            common_pb2.Labels,
            b"values=1",
            'more than one value provided for key "1" in map "flyteidl.admin.Labels.values"',
        ),
        (literals_pb2.Primitive, b"integer=1&boolean=true", 'field already set for oneof "value"'),
        (
            literals_pb2.Primitive,
            b"boolean=yes",
            'parsing field "boolean": strconv.ParseBool: parsing "yes": invalid syntax',
        ),
        (
            dataproxy_pb2.CreateDownloadLocationRequest,
            b"expires_in=soon",
            'parsing field "expires_in": time: invalid duration "soon"',
        ),
    ],
)
def test_refusals(type_: type[Message], query: bytes, message: str | None) -> None:
    said = refusal(type_, query)
    assert said == message if message is not None else said.startswith("parsing field")


class TestPaths:
    def test_nested_names(self) -> None:
        request = node_execution_pb2.NodeExecutionGetRequest()
        put_path(request, "id.execution_id.project", "p")
        put_path(request, "id.node_id", "")
        assert request.id.execution_id.project == "p"
        assert request.HasField("id")

    def test_an_empty_value_still_sets_its_message(self) -> None:
        request = node_execution_pb2.NodeExecutionGetRequest()
        put_path(request, "id.execution_id.project", "")
        assert request.id.HasField("execution_id")

    def test_enums_and_numbers(self) -> None:
        task = task_execution_pb2.TaskExecutionGetRequest()
        put_path(task, "id.retry_attempt", "3")
        entity = common_pb2.NamedEntityGetRequest()
        put_path(entity, "resource_type", "2")
        put_path(entity, "id.name", "é")
        assert (task.id.retry_attempt, entity.resource_type, entity.id.name) == (3, identifier_pb2.WORKFLOW, "é")

    @pytest.mark.parametrize(
        ("type_", "path", "value", "message"),
        [
            (
                task_execution_pb2.TaskExecutionGetRequest,
                "id.retry_attempt",
                "x",
                'parsing field "retry_attempt": strconv.ParseUint: parsing "x": invalid syntax',
            ),
            (common_pb2.NamedEntityGetRequest, "resource_type", "THING", "THING is not valid"),
            (common_pb2.NamedEntityGetRequest, "resource_type", "task", "task is not valid"),
            (common_pb2.NamedEntityGetRequest, "resource_type", "99", "99 is not valid"),
            (common_pb2.NamedEntityGetRequest, "resource_type", "4294967297", "4294967297 is not valid"),
            (
                common_pb2.ObjectGetRequest,
                "id.resource_type",
                "FOO",
                'parsing field "resource_type": "FOO" is not a valid value',
            ),
        ],
    )
    def test_refusals(self, type_: type[Message], path: str, value: str, message: str) -> None:
        with pytest.raises(errors.InvalidArgument) as caught:
            put_path(type_(), path, value)
        assert caught.value.message == f"type mismatch, parameter: {path}, error: {message}"

    def test_bytes_that_are_no_text(self) -> None:
        with pytest.raises(errors.InvalidArgument):
            put_path(project_pb2.ProjectGetRequest(), "id", path_segments(b"/%FF")[0])

    def test_escapes(self) -> None:
        assert path_segments(b"/a%2Fb/%C3%A9+%25") == ["a/b", "é+%"]
        assert path_segments(b"/a/b+/") == ["a", "b+", ""]
        with pytest.raises(errors.InvalidArgument):
            path_segments(b"/%z")


def test_values_of_several_sources_follow_each_other() -> None:
    assert merged([("a", ["1"]), ("b", ["2"]), ("a", ["3"])]) == [("a", ["1", "3"]), ("b", ["2"])]


def test_places_are_found_by_either_spelling() -> None:
    descriptor: Any = project_attributes_pb2.ProjectAttributesGetRequest.DESCRIPTOR
    assert (
        resolve_path(descriptor, "resourceType").names
        == resolve_path(descriptor, "resource_type").names
        == ("resource_type",)
    )
