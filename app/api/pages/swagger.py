"""Convert the OpenAPI document to Swagger 2, for clients and generators that use upstream's /api/v1/openapi.

Names are upstream's where a generated client shows them: operation ids by service and RPC, dotted path parameters,
definitions as protoc-gen-openapiv2 names them (`x-flyte-definition` of a schema, else its name without dots).
"""

import json
from typing import Any

from app.api.routers import ALL
from app.runtime.rows import VARIABLE

Schema = dict[str, Any]

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
ERRORS = {"default": {"description": "An error.", "schema": {"$ref": "#/definitions/googlerpcStatus"}}}
# Parity: definitions of upstream that no operation here refers to.
FURTHER: dict[str, Schema] = {
    "adminSort": {
        "type": "object",
        "properties": {"key": {"type": "string"}, "direction": {"$ref": "#/definitions/SortDirection"}},
    },
    "protobufAny": {"type": "object", "properties": {"@type": {"type": "string"}}, "additionalProperties": {}},
    "protobufNullValue": {"type": "string", "enum": ["NULL_VALUE"], "default": "NULL_VALUE"},
}


def swagger(document: dict[str, Any]) -> dict[str, Any]:
    """Return openapi/flyte.json as Swagger 2."""
    schemas = document["components"]["schemas"]
    return _Converter(schemas).document(document["paths"])


class _Converter:
    """Converts operations and schemas.

    Args:
        schemas: The schemas of the OpenAPI document by name.
    """

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self.schemas = schemas
        self.names = {
            name: "googlerpcStatus" if name == "Error" else schema.get("x-flyte-definition", name.replace(".", ""))
            for name, schema in schemas.items()
        }
        self.definitions = {self.names[name]: self.schema(schema) for name, schema in schemas.items()} | FURTHER

    def document(self, operations_by_path: dict[str, Any]) -> dict[str, Any]:
        """Return the whole document."""
        paths: dict[str, Any] = {}
        for operations in operations_by_path.values():
            for verb, operation in operations.items():
                template = operation["x-flyte-template"]
                paths.setdefault(template, {})[verb] = self.operation(verb, operation)
        shown = json.dumps([paths, self.definitions])
        # Parity: a request message that a definition of its own replaces has no definition.
        used = {name for name in self.definitions if name in FURTHER or f'#/definitions/{name}"' in shown}
        return {
            "swagger": "2.0",
            # Parity: the title and version of the generated document that upstream serves.
            "info": {"title": "flyteidl/service/admin.proto", "version": "version not set"},
            "consumes": ["application/json"],
            "produces": ["application/json"],
            "paths": paths,
            "definitions": {name: self.definitions[name] for name in sorted(used)},
        }

    def operation(self, verb: str, operation: dict[str, Any]) -> dict[str, Any]:
        """Return one operation. A body without the fields of the path gets a definition of its own."""
        operation_id = OPERATION_IDS[verb, operation["x-flyte-template"]]
        fields = VARIABLE.findall(operation["x-flyte-template"])
        parameters = self.parameters(operation.get("parameters", []), fields)
        if "requestBody" in operation:
            body = operation["requestBody"]
            schema = self.content(body)
            if fields:
                name = f"{operation_id.replace('_', '')}Body"
                request = _target(body["content"]["application/json"]["schema"])
                self.definitions[name] = self.without(request, [field.split(".") for field in fields])
                schema = {"$ref": f"#/definitions/{name}"}
            parameters.append({"name": "body", "in": "body", "required": body["required"], "schema": schema})
        return {
            "tags": [operation_id.partition("_")[0]],
            "operationId": operation_id,
            **{key: operation[key] for key in ("summary", "description", "deprecated") if key in operation},
            "parameters": parameters,
            "responses": {
                "200": {"description": "Done.", "schema": self.content(operation["responses"]["200"])},
                **ERRORS,
            },
        }

    def parameters(self, parameters: list[dict[str, Any]], fields: list[str]) -> list[dict[str, Any]]:
        """Return the parameters of the path, named by `fields` in their order, and of the query."""
        in_path = iter(fields)
        converted = []
        for parameter in parameters:
            schema = parameter["schema"]
            if "$ref" in schema:
                schema = self.schemas[_target(schema)]
            found = {
                **self.schema(schema),
                **{key: value for key, value in parameter.items() if key in ("name", "in", "required", "description")},
            }
            if parameter["in"] == "path":
                found["name"] = next(in_path)
            converted.append(found)
        return converted

    def content(self, body: dict[str, Any]) -> Schema:
        """Return the schema of a body."""
        return self.schema(body["content"]["application/json"]["schema"])

    def without(self, name: str, taken: list[list[str]]) -> Schema:
        """Return a message's schema without the fields that the path has, whose parents are written inline.

        Args:
            name: The name of the message's schema.
            taken: Paths of fields, each as its parts.
        """
        found = self.schema(self.schemas[name])
        properties: dict[str, Schema] = {}
        for field, value in self.schemas[name]["properties"].items():
            below = [path[1:] for path in taken if path[0] == field]
            if not below:
                properties[field] = found["properties"][field]
            elif all(below):
                properties[field] = self.without(_target(value), below)
        return {**found, "properties": properties}

    def schema(self, schema: Schema) -> Schema:
        """Return a schema without null, alternatives (only the first is kept) and encodings, which Swagger 2 lacks."""
        if "anyOf" in schema:
            schema = schema["anyOf"][0]
        if "$ref" in schema:
            return {"$ref": f"#/definitions/{self.names[_target(schema)]}"}
        if list(schema.get("properties", ())) == ["@type"]:
            return {"$ref": "#/definitions/protobufAny"}
        found = {key: value for key, value in schema.items() if key in SCHEMA_KEYS}
        if isinstance(found.get("type"), list):
            found["type"] = found["type"][0]
        if "properties" in schema:
            found["properties"] = {name: self.schema(value) for name, value in schema["properties"].items()}
        if "items" in schema:
            found["items"] = self.schema(schema["items"])
        if isinstance(values := schema.get("additionalProperties"), dict):
            found["additionalProperties"] = self.schema(values)
        return found


def _target(schema: Schema) -> str:
    """Return the name of the schema that a schema refers to, directly or as the first of its alternatives."""
    reference: str = schema.get("anyOf", [schema])[0]["$ref"]
    return reference.rpartition("/")[2]
