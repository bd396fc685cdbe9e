"""JSON schemas of protobuf messages, for the OpenAPI document and the MCP tools.

A schema describes the proto JSON form with snake_case names. Requests and responses share it, so it allows null, which
stands for an unset message, and requires no field. descriptions.toml holds the descriptions.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from app.wire.definitions import definition_name

Schema = dict[str, Any]

DESCRIPTIONS: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("descriptions.toml").read_text(encoding="utf-8")
)

SIGNED_64: Schema = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
UNSIGNED_64: Schema = {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}
SIGNED_32: Schema = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
UNSIGNED_32: Schema = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**32 - 1}
# JSON has no NaN and no infinity, so proto JSON writes them as strings.
NUMBER: Schema = {
    "anyOf": [{"type": "number", "format": "double"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]
}

SCALARS: dict[int, Schema] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_DOUBLE: NUMBER,
    FieldDescriptor.TYPE_FLOAT: NUMBER,
    FieldDescriptor.TYPE_INT32: SIGNED_32,
    FieldDescriptor.TYPE_UINT32: UNSIGNED_32,
    FieldDescriptor.TYPE_INT64: SIGNED_64,
    FieldDescriptor.TYPE_UINT64: UNSIGNED_64,
}

# Proto JSON writes these messages in forms of their own.
WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.BoolValue": {"type": "boolean"},
    # `additionalProperties: true` would make openapi-generator write a Java type without a name.
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}},
}


def name_of(message: Any) -> str:
    """Return the schema name of a message or enumeration, such as core.Identifier or admin.Foo.Bar."""
    return str(message.full_name).removeprefix("flyteidl.")


class Schemas:
    """The schemas of one document. A message is added when something first refers to it.

    Attributes:
        known: The schemas by name (`name_of`).
    """

    def __init__(self) -> None:
        self.known: dict[str, Schema] = {}

    def reference(self, message: Any) -> Schema:
        """Return a reference to a message or enumeration; for a well-known type the schema itself."""
        if message.full_name in WELL_KNOWN:
            return dict(WELL_KNOWN[message.full_name])
        name = name_of(message)
        if name not in self.known:
            self.known[name] = {}  # Set before the fields are visited, because messages contain themselves.
            self.known[name].update(
                self._enumeration(message) if hasattr(message, "values") else self._message(message)
            )
            if (definition := definition_name(message)) != name.replace(".", ""):
                self.known[name]["x-flyte-definition"] = definition
        return {"$ref": f"#/components/schemas/{name}"}

    def value(self, field: Any) -> Schema:
        """Return the schema of one value of a field, also of one element of a list or map."""
        if field.message_type or field.enum_type:
            return self.reference(field.message_type or field.enum_type)
        return dict(SCALARS[field.type])

    def field(self, field: Any) -> Schema:
        """Return the schema of a field with its description."""
        if field.message_type and field.message_type.GetOptions().map_entry:
            schema: Schema = {
                "type": "object",
                "additionalProperties": self.value(field.message_type.fields_by_name["value"]),
            }
        elif field.is_repeated:
            schema = {"type": "array", "items": self.value(field)}
        elif field.message_type and not field.containing_oneof:
            schema = _nullable(self.value(field))
        else:
            schema = self.value(field)
        if field.GetOptions().deprecated:
            schema["deprecated"] = True
        if text := description(field):
            schema["description"] = text
        return schema

    def _enumeration(self, enumeration: Any) -> Schema:
        return {"type": "string", "enum": [value.name for value in enumeration.values]}

    def _message(self, message: Any) -> Schema:
        schema: Schema = {
            "type": "object",
            "properties": {field.name: self.field(field) for field in message.fields},
            # The decoder refuses unknown fields, and no response has any.
            "additionalProperties": False,
        }
        sentences = [DESCRIPTIONS["messages"].get(name_of(message), "")]
        sentences += [
            f"At most one of {', '.join(field.name for field in oneof.fields)} is set."
            for oneof in message.oneofs
            if len(oneof.fields) > 1
        ]
        if text := " ".join(filter(None, sentences)):
            schema["description"] = text
        return schema


def _nullable(schema: Schema) -> Schema:
    """Return the schema with null allowed, which stands for an unset message."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else schema


def description(field: Any) -> str:
    """Return the description of a field by its full name, else by its name; "" without one."""
    full_name = f"{name_of(field.containing_type)}.{field.name}"
    return DESCRIPTIONS["fields"].get(full_name) or DESCRIPTIONS["names"].get(field.name, "")


ERROR: Schema = {
    "type": "object",
    "description": DESCRIPTIONS["messages"]["google.rpc.Status"],
    "required": ["code", "message", "details"],
    "properties": {
        "code": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 16},
        "message": {"type": "string"},
        "details": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["@type"],
                "properties": {"@type": {"type": "string", "description": "The type of the message beside it."}},
            },
        },
    },
    "additionalProperties": False,
}
