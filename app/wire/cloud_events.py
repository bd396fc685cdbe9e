"""CloudEvents 1.0: one event, and its forms on the wire.

The library `cloudevents` cannot write these: it keeps times as datetime, which drops nanoseconds, and it has no
protobuf format. Tests read every form back with it.

Source: github.com/cloudevents/spec at v1.0.2, and the Go SDK that upstream uses (event_marshal.go, protobuf.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

import orjson
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

SPEC_VERSION = "1.0"
JSON = "application/json"
STRUCTURED = "application/cloudevents+json; charset=utf-8"
# Printable ASCII but space, quote and percent (HTTP binding, 3.1.3.2).
_HEADER_SAFE = "".join(chr(point) for point in range(0x21, 0x7F) if chr(point) not in '"%')
# Characters that Go's url.URL.String leaves alone in a path.
_PATH_SAFE = "/:@!$&'()*+,;=-._~"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event. `data` is JSON.

    Attributes:
        time: The time of the occurrence.
        extensions: Further attributes; names are lower-case letters and digits.
    """

    id: str
    source: str
    type: str
    time: timestamp_pb2.Timestamp
    data: bytes
    extensions: Mapping[str, str | int] = field(default_factory=dict)

    def attributes(self) -> dict[str, str]:
        """Return the attributes as text, in the order of upstream, without the content type of the data."""
        return {
            "specversion": SPEC_VERSION,
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": time_text(self.time),
            **{name: str(value) for name, value in self.extensions.items()},
        }

    def http_headers(self) -> dict[str, str]:
        """Return the headers of HTTP's binary mode; the body is `data`."""
        headers = {f"ce-{name}": quote(value, safe=_HEADER_SAFE) for name, value in self.attributes().items()}
        return {"content-type": JSON, **headers}

    def kafka_headers(self) -> list[tuple[str, bytes]]:
        """Return the headers of Kafka's binary mode; the value is `data`."""
        headers = [(f"ce_{name}", value.encode()) for name, value in self.attributes().items()]
        return [("content-type", JSON.encode()), *headers]

    def json(self) -> bytes:
        """Return the event in the JSON format, for structured mode."""
        document: dict[str, Any] = {
            "specversion": SPEC_VERSION,
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "datacontenttype": JSON,
            "time": time_text(self.time),
            "data": orjson.Fragment(self.data),
            **self.extensions,
        }
        return orjson.dumps(document)

    def protobuf(self) -> bytes:
        """Return the event in the protobuf format, io.cloudevents.v1.CloudEvent, with the data as bytes."""
        message = protobuf_class()(id=self.id, source=self.source, spec_version=SPEC_VERSION, type=self.type)
        message.attributes["datacontenttype"].ce_string = JSON
        time = message.attributes["time"].ce_timestamp
        time.seconds, time.nanos = self.time.seconds, self.time.nanos
        time.SetInParent()
        for name, value in self.extensions.items():
            if isinstance(value, int):
                message.attributes[name].ce_integer = value
            else:
                message.attributes[name].ce_string = value
        message.binary_data = self.data
        written: bytes = message.SerializeToString(deterministic=True)
        return written


def uri_reference(path: str) -> str:
    """Return a path as a relative URI, percent-encoded where it has to be."""
    return quote(path, safe=_PATH_SAFE)


def time_text(time: timestamp_pb2.Timestamp) -> str:
    """Return a time in Go's form RFC3339Nano: without zeros at the end of the fraction."""
    whole = timestamp_pb2.Timestamp(seconds=time.seconds).ToJsonString().removesuffix("Z")
    fraction = f".{time.nanos:09d}".rstrip("0") if time.nanos else ""
    return f"{whole}{fraction}Z"


@cache
def protobuf_class() -> Any:
    """Return the class of the protobuf format's message.

    Its pool is separate: a library that brings the same message may register it in the default pool.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="io/cloudevents/v1/cloudevents.proto",
        package="io.cloudevents.v1",
        syntax="proto3",
        dependency=["google/protobuf/any.proto", "google/protobuf/timestamp.proto"],
    )
    types = descriptor_pb2.FieldDescriptorProto
    value = file.message_type.add(name="CloudEventAttributeValue")
    value.oneof_decl.add(name="attr")
    kinds = (types.TYPE_BOOL, types.TYPE_INT32, types.TYPE_STRING, types.TYPE_BYTES, types.TYPE_STRING)
    names = ("ce_boolean", "ce_integer", "ce_string", "ce_bytes", "ce_uri")
    for number, (name, kind) in enumerate(zip(names, kinds, strict=True), 1):
        value.field.add(name=name, number=number, type=kind, label=types.LABEL_OPTIONAL, oneof_index=0)
    value.field.add(name="ce_uri_ref", number=6, type=types.TYPE_STRING, label=types.LABEL_OPTIONAL, oneof_index=0)
    value.field.add(
        name="ce_timestamp",
        number=7,
        type=types.TYPE_MESSAGE,
        type_name=".google.protobuf.Timestamp",
        label=types.LABEL_OPTIONAL,
        oneof_index=0,
    )
    event = file.message_type.add(name="CloudEvent")
    for number, name in enumerate(("id", "source", "spec_version", "type"), 1):
        event.field.add(name=name, number=number, type=types.TYPE_STRING, label=types.LABEL_OPTIONAL)
    entry = event.nested_type.add(name="AttributesEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=types.TYPE_STRING, label=types.LABEL_OPTIONAL)
    entry.field.add(
        name="value",
        number=2,
        type=types.TYPE_MESSAGE,
        type_name=".io.cloudevents.v1.CloudEventAttributeValue",
        label=types.LABEL_OPTIONAL,
    )
    event.field.add(
        name="attributes",
        number=5,
        type=types.TYPE_MESSAGE,
        type_name=".io.cloudevents.v1.CloudEvent.AttributesEntry",
        label=types.LABEL_REPEATED,
    )
    event.oneof_decl.add(name="data")
    for number, name, kind in ((6, "binary_data", types.TYPE_BYTES), (7, "text_data", types.TYPE_STRING)):
        event.field.add(name=name, number=number, type=kind, label=types.LABEL_OPTIONAL, oneof_index=0)
    event.field.add(
        name="proto_data",
        number=8,
        type=types.TYPE_MESSAGE,
        type_name=".google.protobuf.Any",
        label=types.LABEL_OPTIONAL,
        oneof_index=0,
    )
    pool = descriptor_pool.DescriptorPool()
    for known in (any_pb2.DESCRIPTOR, timestamp_pb2.DESCRIPTOR):
        copy = descriptor_pb2.FileDescriptorProto()
        known.CopyToProto(copy)
        pool.Add(copy)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("io.cloudevents.v1.CloudEvent"))
