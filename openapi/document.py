"""The OpenAPI 3.1 document of the REST bindings: paths, parameters, bodies, replies. schemas.py has the schemas.

A path parameter has the same name for all verbs, so that a path has one template. `x-flyte-template` of an operation
has upstream's template, whose names are dotted field paths.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from app.wire.schemas import DESCRIPTIONS, ERROR, WELL_KNOWN, Schema, Schemas, description
from openapi.bindings import ROOT, Operation, operations, tags

DESCRIPTION = """\
The control plane of Flyte over REST: projects, tasks, workflows and launch plans are registered, executions launched \
and followed, and engines report events. Each operation is also served over gRPC under the name in `x-flyte-rpc`.

Encodings: with `Accept: application/json`, exactly so, answers have the snake_case names of this document; with \
`application/octet-stream` they are serialized protobuf messages; with anything else they are JSON with lowerCamelCase \
names. Without a known `Accept` the request's `Content-Type` decides. Requests may use either spelling, \
or be serialized messages with `Content-Type: application/octet-stream`. Answers hold \
every field: unset messages are null, 64-bit integers are text, enumerations are names, times RFC 3339 and durations \
seconds such as `0.250s`."""

# The statuses that every operation can return; `default` covers those that a proxy adds.
STATUSES = {
    "400": "An argument is missing or wrong, or the present state forbids it (INVALID_ARGUMENT, FAILED_PRECONDITION).",
    "401": "Authentication is on and the caller has none (UNAUTHENTICATED).",
    "403": "The caller may not do this (PERMISSION_DENIED).",
    "404": "The entity does not exist (NOT_FOUND).",
    "409": "The entity exists already, or another request changed it first (ALREADY_EXISTS, ABORTED).",
    "429": "A limit was reached (RESOURCE_EXHAUSTED).",
    "500": "The server failed (INTERNAL, UNKNOWN).",
    "501": "Not served, or not with this verb (UNIMPLEMENTED).",
    "503": "Try again (UNAVAILABLE).",
    "default": "Any other error.",
}
STATUS_NAMES = {status: f"Error{status.capitalize()}" for status in STATUSES}
EXAMPLES = json.loads((ROOT / "openapi" / "examples.json").read_text(encoding="utf-8"))
BINARY: Schema = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}


def document() -> dict[str, Any]:
    """Return the whole document."""
    schemas = Schemas()
    lines = [line for line in operations() if line.template]
    names = path_names(lines)
    paths: dict[str, Any] = {}
    for line in lines:
        own = names[shape(line.template)]
        path = line.template
        for field in fields_of(line.template):
            path = path.replace(f"{{{field}}}", f"{{{own[field]}}}")
        paths.setdefault(path, {})[line.verb.lower()] = operation(line, own, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flyte Admin API",
            "description": DESCRIPTION,
            "version": "v1",
            "contact": {"name": "Flyte", "url": "https://flyte.org"},
            "license": {"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "servers": [{"url": "/", "description": "The server that this document comes from"}],
        "security": [{}, {"bearer": []}],
        "tags": [
            {"name": tag, "description": table["description"]}
            for tag, table in tags().items()
            if tag in {line.tag for line in lines}
        ],
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR, **dict(sorted(schemas.known.items()))},
            "responses": {
                STATUS_NAMES[status]: {
                    "description": text,
                    "content": _contents({"$ref": "#/components/schemas/Error"}),
                }
                for status, text in STATUSES.items()
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An OAuth2 access token."}
            },
        },
    }


def fields_of(template: str) -> list[str]:
    """Return the dotted field paths in a template, in its order."""
    return re.findall(r"\{([^}]*)\}", template)


def shape(template: str) -> str:
    """Return a template without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", template)


def path_names(lines: list[Operation]) -> dict[str, dict[str, str]]:
    """Return, for each shape of a path, the parameters' names by dotted field path.

    A name is the shortest end of the dotted path that no other parameter of the template has. The first template of a
    shape decides for all templates of that shape.
    """
    names: dict[str, dict[str, str]] = {}
    places: dict[str, list[str]] = {}
    for line in lines:
        fields = fields_of(line.template)
        if shape(line.template) not in places:
            ends = Counter(".".join(field.split(".")[-n:]) for field in fields for n in range(1, field.count(".") + 2))
            places[shape(line.template)] = [
                next(
                    end.replace("_id.", "_").replace(".", "_")
                    for n in range(1, field.count(".") + 2)
                    if ends[end := ".".join(field.split(".")[-n:])] == 1
                )
                for field in fields
            ]
        names.setdefault(shape(line.template), {}).update(zip(fields, places[shape(line.template)], strict=True))
    return names


def operation(line: Operation, names: dict[str, str], schemas: Schemas) -> dict[str, Any]:
    """Return one operation of the document."""
    fields = fields_of(line.template)
    parameters = [_parameter(names[field], "path", _field_at(line.rpc.input_type, field), schemas) for field in fields]
    if not line.body:
        parameters += _query(line.rpc.input_type, set(fields), schemas)
    found: dict[str, Any] = {"tags": [line.tag], "summary": line.summary, "operationId": line.id}
    if text := DESCRIPTIONS["operations"].get(line.id):
        found["description"] = text
    if line.rpc.GetOptions().deprecated:
        found["deprecated"] = True
    if parameters:
        found["parameters"] = parameters
    if line.body:
        # Binary bodies are only described in text: with a second content type, openapi-python-client generates code
        # that cannot be imported, and clients of JSON would have to choose.
        content: dict[str, Any] = {"schema": schemas.reference(line.rpc.input_type)}
        if line.id in EXAMPLES["bodies"]:
            content["example"] = EXAMPLES["bodies"][line.id]
        # An empty body is an empty message, which is a complete request only for DELETE.
        found["requestBody"] = {"required": line.verb != "DELETE", "content": {"application/json": content}}
    found["responses"] = {
        "200": {"description": "Done.", "content": _contents(schemas.reference(line.rpc.output_type))},
        **{status: {"$ref": f"#/components/responses/{name}"} for status, name in STATUS_NAMES.items()},
    }
    found["x-flyte-rpc"] = f"{line.rpc.containing_service.full_name}/{line.rpc.name}"
    found["x-flyte-template"] = line.template
    return found


def _contents(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}, "application/octet-stream": {"schema": BINARY}}


def _field_at(message: Any, path: str) -> Any:
    """Return the field at a dotted path below a message."""
    *parents, last = path.split(".")
    for parent in parents:
        message = message.fields_by_name[parent].message_type
    return message.fields_by_name[last]


def _query(message: Any, taken: set[str], schemas: Schemas, prefix: str = "") -> list[dict[str, Any]]:
    """Return a query parameter for each field that is not in the path, named by its dotted path.

    Messages with a form of their own in proto JSON are one parameter. No request here has a map or a list of messages.
    """
    found = []
    for field in message.fields:
        path = f"{prefix}{field.name}"
        if path in taken:
            continue
        if field.message_type and field.message_type.full_name not in WELL_KNOWN:
            found += _query(field.message_type, taken, schemas, f"{path}.")
        else:
            found.append(_parameter(path, "query", field, schemas))
    return found


def _parameter(name: str, place: str, field: Any, schemas: Schemas) -> dict[str, Any]:
    schema = schemas.value(field)
    if place == "path" and schema == {"type": "string"}:
        schema["minLength"] = 1
    found: dict[str, Any] = {"name": name, "in": place, "schema": schema}
    if place == "path":
        found["required"] = True
    if name in EXAMPLES["parameters"]:
        found["example"] = EXAMPLES["parameters"][name]
    if field.GetOptions().deprecated:
        found["deprecated"] = True
    if text := description(field):
        found["description"] = text
    return found
