"""JSON out: equal to google.protobuf.json_format for every message type, plus upstream's null for unset messages."""

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import event_pb2, execution_pb2, project_pb2, version_pb2, workflow_pb2
from flyteidl.core import identifier_pb2, literals_pb2
from google.protobuf import any_pb2, duration_pb2, field_mask_pb2, json_format, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.rpc import status_pb2

from app import errors
from app.cache import ByteCache
from app.wire.codecs import BINARY, CAMEL_JSON, SNAKE_JSON
from app.wire.render import is_map, to_compact_json, to_json
from tests.wire.messages import filled, new, reachable

REPLIES = json.loads((Path(__file__).parents[1] / "sample" / "replies.json").read_text())


def expected(message: Message, *, camel: bool) -> Any:
    data = json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=not camel
    )
    _add_nulls(message, data, camel)
    return data


def _add_nulls(message: Any, data: Any, camel: bool) -> None:
    """json_format leaves an unset message out, upstream prints null unless it is a member of a oneof."""
    if message.DESCRIPTOR.full_name.startswith("google.protobuf."):
        return
    for field in message.DESCRIPTOR.fields:
        key = field.json_name if camel else field.name
        if field.message_type is None:
            continue
        if is_map(field):
            if field.message_type.fields_by_name["value"].message_type is not None:
                for name, value in getattr(message, field.name).items():
                    _add_nulls(value, data[key][name], camel)
        elif field.is_repeated:
            for element, element_data in zip(getattr(message, field.name), data[key], strict=True):
                _add_nulls(element, element_data, camel)
        elif message.HasField(field.name):
            _add_nulls(getattr(message, field.name), data[key], camel)
        elif field.containing_oneof is None:
            data[key] = None


@pytest.mark.parametrize("camel", [False, True])
@pytest.mark.parametrize("descriptor", reachable(), ids=lambda descriptor: descriptor.full_name)
def test_every_type_as_json_format_prints_it(descriptor: Descriptor, camel: bool) -> None:
    for seed in range(4):
        message = filled(descriptor, random.Random(seed))
        if descriptor.full_name == "google.protobuf.Value" and message.WhichOneof("kind") is None:
            continue
        assert json.loads(to_json(message, camel=camel)) == expected(message, camel=camel)
        compact = to_compact_json(message)
        assert json.loads(compact) == json_format.MessageToDict(message)
        assert to_compact_json(type(message).FromString(message.SerializeToString())) == compact
    empty = new(descriptor)
    assert json.loads(to_json(empty, camel=camel)) == expected(empty, camel=camel)


@pytest.mark.parametrize(
    ("prefix", "type_"),
    [
        ("/api/v1/workflows/", workflow_pb2.Workflow),
        ("/api/v1/executions/", execution_pb2.Execution),
        ("/api/v1/projects/", project_pb2.Project),
    ],
)
def test_recorded_answers_come_out_as_they_went_in(prefix: str, type_: type[Message]) -> None:
    answers = [reply["json"] for path, reply in REPLIES.items() if path.startswith(prefix) and "?" not in path]
    assert answers
    for answer in answers:
        assert json.loads(to_json(json_format.ParseDict(answer, type_()), camel=False)) == answer


@pytest.mark.parametrize(
    ("message", "printed"),
    [
        (timestamp_pb2.Timestamp(seconds=1614852005), b'"2021-03-04T10:00:05Z"'),
        (timestamp_pb2.Timestamp(seconds=1614852005, nanos=120_000_000), b'"2021-03-04T10:00:05.120Z"'),
        (timestamp_pb2.Timestamp(seconds=1614852005, nanos=120_000), b'"2021-03-04T10:00:05.000120Z"'),
        (timestamp_pb2.Timestamp(seconds=1614852005, nanos=12), b'"2021-03-04T10:00:05.000000012Z"'),
        (timestamp_pb2.Timestamp(seconds=2**60), b'"9999-12-31T23:59:59Z"'),
        (timestamp_pb2.Timestamp(seconds=-(2**60)), b'"0001-01-01T00:00:00Z"'),
        (duration_pb2.Duration(nanos=-500_000_000), b'"-0.500s"'),
        (duration_pb2.Duration(seconds=3600), b'"3600s"'),
        (struct_pb2.Value(), b"null"),
        (struct_pb2.Value(number_value=3.0), b"3"),
        (struct_pb2.Value(number_value=float("nan")), b'"NaN"'),
        (wrappers_pb2.BoolValue(value=True), b"true"),
        (wrappers_pb2.Int64Value(value=7), b'"7"'),
        (field_mask_pb2.FieldMask(paths=["a_b.c", "d"]), b'"aB.c,d"'),
        (any_pb2.Any(), b"{}"),
        (any_pb2.Any(type_url="x/no.Such", value=b"ab"), b'{"@type":"x/no.Such","value":"YWI="}'),
        (
            any_pb2.Any(type_url="x/google.protobuf.Duration", value=b"\x08\x02"),
            b'{"@type":"x/google.protobuf.Duration","value":"2s"}',
        ),
        (literals_pb2.Primitive(integer=-(2**63)), b'{"integer":"-9223372036854775808"}'),
        (literals_pb2.Binary(value=b"\xfb\xef"), b'{"value":"++8=","tag":""}'),
        (project_pb2.GetDomainRequest(), b"{}"),
    ],
)
def test_single_values(message: Message, printed: bytes) -> None:
    assert to_json(message, camel=False) == printed


def test_an_enum_number_without_a_name_stays_a_number() -> None:
    assert b'"resource_type":77' in to_json(identifier_pb2.Identifier(resource_type=77), camel=False)


def test_names_that_the_proto_files_spell_in_camel_case_stay() -> None:
    version = version_pb2.GetVersionResponse(control_plane_version={"Build": "b", "Version": "v", "BuildTime": "t"})
    assert json.loads(to_json(version, camel=False)) == {
        "control_plane_version": {"Build": "b", "Version": "v", "BuildTime": "t"}
    }
    assert json.loads(to_json(version, camel=True)) == {
        "controlPlaneVersion": {"Build": "b", "Version": "v", "BuildTime": "t"}
    }


def test_encodings() -> None:
    message = identifier_pb2.Identifier(name="n")
    assert BINARY.write(message, ByteCache(10_000)) == message.SerializeToString()
    assert b'"resource_type":"UNSPECIFIED"' in SNAKE_JSON.write(message, ByteCache(10_000))
    assert b'"resourceType":"UNSPECIFIED"' in CAMEL_JSON.write(message, ByteCache(10_000))


def test_status() -> None:
    reason = event_pb2.EventFailureReason(already_in_terminal_state={"current_phase": "FAILED"})
    error = errors.FailedPrecondition("no", details=(reason,))
    type_ = "type.googleapis.com/flyteidl.admin.EventFailureReason"
    assert json.loads(SNAKE_JSON.write_error(error)) == {
        "code": 9,
        "message": "no",
        "details": [{"@type": type_, "already_in_terminal_state": {"current_phase": "FAILED"}}],
    }
    assert json.loads(CAMEL_JSON.write_error(error))["details"] == [
        {"@type": type_, "alreadyInTerminalState": {"currentPhase": "FAILED"}}
    ]
    status = status_pb2.Status.FromString(BINARY.write_error(error))
    assert (status.code, status.message, status.details[0].type_url) == (9, "no", type_)
    assert status.details[0].value == reason.SerializeToString()
    assert base64.b64encode(status.details[0].value) == b"CggKBkZBSUxFRA=="
