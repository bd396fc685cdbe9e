"""The forms of a CloudEvent, read back by the library `cloudevents`, and its protobuf form by a message of its own."""

from __future__ import annotations

import json

from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from google.protobuf.timestamp_pb2 import Timestamp

from app.wire import cloud_events
from app.wire.cloud_events import CloudEvent

EVENT = CloudEvent(
    id='project:"p" domain:"d" name:"ü %".SUCCEEDED',
    source="https://github.com/flyteorg/flyte/flyteadmin",
    type="com.flyte.resource.flyteidl.admin.WorkflowExecutionEventRequest",
    time=Timestamp(seconds=1_600_000_000, nanos=120_000_000),
    data=b'{"event":{"phase":"SUCCEEDED"}}',
    extensions={"jsonschemaurl": "", "retry": 2},
)
ATTRIBUTES = {
    "id": EVENT.id,
    "source": EVENT.source,
    "type": EVENT.type,
    "specversion": "1.0",
    "datacontenttype": "application/json",
    "jsonschemaurl": "",
}
DATA = {"event": {"phase": "SUCCEEDED"}}


def test_the_binary_mode_of_http_is_read_back() -> None:
    headers = EVENT.http_headers()
    assert headers["ce-id"] == "project:%22p%22%20domain:%22d%22%20name:%22%C3%BC%20%25%22.SUCCEEDED"
    read = http.from_binary(http.HTTPMessage(headers, EVENT.data), JSONFormat())
    attributes = read.get_attributes()
    assert attributes.pop("time").isoformat() == "2020-09-13T12:26:40.120000+00:00"
    assert attributes == {**ATTRIBUTES, "retry": "2"}
    assert read.get_data() == DATA


def test_the_structured_mode_is_read_back() -> None:
    message = http.HTTPMessage({"content-type": cloud_events.STRUCTURED}, EVENT.json())
    read = http.from_structured(message, JSONFormat())
    attributes = read.get_attributes()
    assert attributes.pop("time").isoformat() == "2020-09-13T12:26:40.120000+00:00"
    assert attributes == {**ATTRIBUTES, "retry": 2}
    assert read.get_data() == DATA


def test_the_json_form_has_the_attributes_in_the_order_of_the_go_library() -> None:
    names = ["specversion", "id", "source", "type", "datacontenttype", "time", "data", "jsonschemaurl", "retry"]
    assert list(json.loads(EVENT.json())) == names


def test_the_headers_of_kafka_are_read_back() -> None:
    headers = dict(EVENT.kafka_headers())
    read = kafka.from_binary(kafka.KafkaMessage(headers, None, EVENT.data), JSONFormat())
    attributes = read.get_attributes()
    attributes.pop("time")
    assert attributes == {**ATTRIBUTES, "retry": "2"}
    assert headers["ce_time"] == b"2020-09-13T12:26:40.12Z"
    assert headers["content-type"] == b"application/json"


def test_the_protobuf_form_has_typed_attributes_and_binary_data() -> None:
    read = cloud_events.protobuf_class().FromString(EVENT.protobuf())
    assert (read.id, read.source, read.spec_version, read.type) == (EVENT.id, EVENT.source, "1.0", EVENT.type)
    assert read.binary_data == EVENT.data
    assert read.attributes["datacontenttype"].ce_string == "application/json"
    time = read.attributes["time"].ce_timestamp
    assert (time.seconds, time.nanos) == (EVENT.time.seconds, EVENT.time.nanos)
    assert read.attributes["jsonschemaurl"].WhichOneof("attr") == "ce_string"
    assert read.attributes["retry"].ce_integer == 2


def test_times_are_written_as_go_writes_them() -> None:
    assert cloud_events.time_text(Timestamp(seconds=0)) == "1970-01-01T00:00:00Z"
    assert cloud_events.time_text(Timestamp(seconds=1, nanos=1)) == "1970-01-01T00:00:01.000000001Z"
    assert cloud_events.time_text(Timestamp(seconds=1, nanos=500_000_000)) == "1970-01-01T00:00:01.5Z"


def test_a_path_becomes_a_uri_reference() -> None:
    assert cloud_events.uri_reference("f1/n0-0-dn1/2") == "f1/n0-0-dn1/2"
    assert cloud_events.uri_reference("a b/%") == "a%20b/%25"
