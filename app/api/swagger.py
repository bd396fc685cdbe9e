"""The Swagger 2 form of the OpenAPI document, for clients and generators that know upstream's /api/v1/openapi.

Names are upstream's where a generated client shows them: operation ids by service and RPC, dotted path parameters,
schemas by package and message without a dot.
"""

from typing import Any

from app.api.routers import ALL
from app.api.rows import VARIABLE

# Parity: upstream's generator numbers the further REST forms of an RPC from 2.
OPERATION_IDS = {
    (
        binding.verb.lower(),
        binding.template,
    ): f"{rpc.service.rpartition('.')[2]}_{rpc.name}{number if number > 1 else ''}"
    for rpc in ALL
    for number, binding in enumerate(rpc.bindings, start=1)
}
SCHEMA_KEYS = {"type", "format", "description", "enum", "pattern", "minimum", "maximum", "minLength", "required"}
ERRORS = {"default": {"description": "An error.", "schema": {"$ref": "#/definitions/rpcStatus"}}}


def swagger(document: dict[str, Any]) -> dict[str, Any]:
    """Turn openapi/flyte.json into Swagger 2."""
    schemas = document["components"]["schemas"]
    paths: dict[str, Any] = {}
    for operations in document["paths"].values():
        for verb, operation in operations.items():
            template = operation["x-flyte-template"]
            paths.setdefault(template, {})[verb] = _operation(verb, operation, schemas)
    return {
        "swagger": "2.0",
        # Parity: the title and version of the generated document that upstream serves.
        "info": {"title": "flyteidl/service/admin.proto", "version": "version not set"},
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "paths": paths,
        "definitions": {_name(name): _schema(schema) for name, schema in schemas.items()},
    }


def _operation(verb: str, operation: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    operation_id = OPERATION_IDS[verb, operation["x-flyte-template"]]
    fields = iter(VARIABLE.findall(operation["x-flyte-template"]))
    parameters = []
    for parameter in operation.get("parameters", []):
        schema = parameter["schema"]
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]]
        found = {
            **_schema(schema),
            **{key: value for key, value in parameter.items() if key in ("name", "in", "required", "description")},
        }
        if parameter["in"] == "path":
            found["name"] = next(fields)
        parameters.append(found)
    if "requestBody" in operation:
        body = operation["requestBody"]
        parameters.append({"name": "body", "in": "body", "required": body["required"], "schema": _content(body)})
    return {
        "tags": [operation_id.partition("_")[0]],
        "operationId": operation_id,
        **{key: operation[key] for key in ("summary", "description", "deprecated") if key in operation},
        "parameters": parameters,
        "responses": {"200": {"description": "Done.", "schema": _content(operation["responses"]["200"])}, **ERRORS},
    }


def _content(body: dict[str, Any]) -> dict[str, Any]:
    return _schema(body["content"]["application/json"]["schema"])


def _name(name: str) -> str:
    return "rpcStatus" if name == "Error" else name.replace(".", "")


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without what Swagger 2 lacks: null, alternatives (the first one stands), encodings of text."""
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if "$ref" in schema:
        return {"$ref": f"#/definitions/{_name(schema['$ref'].rpartition('/')[2])}"}
    found = {key: value for key, value in schema.items() if key in SCHEMA_KEYS}
    if isinstance(found.get("type"), list):
        found["type"] = found["type"][0]
    if "properties" in schema:
        found["properties"] = {name: _schema(value) for name, value in schema["properties"].items()}
    if "items" in schema:
        found["items"] = _schema(schema["items"])
    if isinstance(values := schema.get("additionalProperties"), dict):
        found["additionalProperties"] = _schema(values)
    return found
