"""The OpenAPI document with lowerCamelCase names, which the server uses in replies by default.

Only names in bodies differ from openapi/flyte.json. Parameters keep their names, because the server accepts either
spelling. The media type of bodies gets the parameter `names=camel`: generated clients send the media type in Accept and
Content-Type, and plain `application/json` there would select snake_case names.
"""

import re
from typing import Any

from app.wire.codecs import CAMEL_TYPE

Schema = dict[str, Any]

JSON_TYPE = "application/json"
NAMES = f"""\
Names in bodies are lowerCamelCase here. That is what the server answers to `{CAMEL_TYPE}`, and to any request whose \
`Accept` and `Content-Type` are neither `{JSON_TYPE}` nor `application/octet-stream`. For `{JSON_TYPE}` alone the \
names are snake_case, and so they are in this document when it is asked for with that `Accept`. \
`application/octet-stream` stands for serialized protobuf messages."""
_FIELD = re.compile(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b")


def camel_document(document: dict[str, Any]) -> dict[str, Any]:
    """Return openapi/flyte.json with lowerCamelCase names in bodies."""
    components = document["components"]
    schemas = components["schemas"]
    names = {name for schema in schemas.values() for name in schema.get("properties", ())}
    return {
        **document,
        "info": {**document["info"], "description": _description(document["info"]["description"])},
        "paths": {
            path: {verb: _operation(operation, schemas, names) for verb, operation in operations.items()}
            for path, operations in document["paths"].items()
        },
        "components": {
            **components,
            "schemas": {name: _schema(schema, names) for name, schema in schemas.items()},
            "responses": {name: _contents(response, schemas) for name, response in components["responses"].items()},
        },
    }


def json_name(name: str) -> str:
    """Return the JSON name that protobuf gives a field."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _description(text: str) -> str:
    """Replace the paragraph about encodings."""
    paragraphs = text.split("\n\n")
    return "\n\n".join([*paragraphs[:-1], NAMES])


def _operation(operation: dict[str, Any], schemas: dict[str, Schema], names: set[str]) -> dict[str, Any]:
    found = {**operation, "responses": {**operation["responses"]}}
    found["responses"]["200"] = _contents(operation["responses"]["200"], schemas)
    if "requestBody" in operation:
        found["requestBody"] = _contents(operation["requestBody"], schemas)
    if "description" in operation:
        found["description"] = _text(operation["description"], names)
    return found


def _contents(body: dict[str, Any], schemas: dict[str, Schema]) -> dict[str, Any]:
    """Rename the media type of JSON, and the names in its example."""
    found = {}
    for media_type, content in body["content"].items():
        if "example" in content:
            content = {**content, "example": _value(content["example"], content["schema"], schemas)}
        found[CAMEL_TYPE if media_type == JSON_TYPE else media_type] = content
    return {**body, "content": found}


def _schema(schema: Schema, names: set[str]) -> Schema:
    """Rename the properties of a schema and of the schemas inside it, which do not refer to others by name."""
    found = dict(schema)
    if "properties" in schema:
        found["properties"] = {json_name(name): _schema(value, names) for name, value in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found[key] = _schema(schema[key], names)
    if "description" in schema:
        found["description"] = _text(schema["description"], names)
    return found


def _text(text: str, names: set[str]) -> str:
    """Return a description with its field names in lowerCamelCase."""
    return _FIELD.sub(lambda match: json_name(match.group()) if match.group() in names else match.group(), text)


def _value(value: Any, schema: Schema, schemas: dict[str, Schema]) -> Any:
    """Rename the fields of an example; keys of maps are no fields."""
    schema = schema.get("anyOf", [schema])[0]
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        return [_value(one, schema["items"], schemas) for one in value]
    if not isinstance(value, dict):
        return value
    if "properties" in schema:
        return {json_name(name): _value(one, schema["properties"][name], schemas) for name, one in value.items()}
    of_values = schema.get("additionalProperties", {})
    return {name: _value(one, of_values, schemas) for name, one in value.items()}
