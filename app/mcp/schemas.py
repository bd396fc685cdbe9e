"""JSON schemas (draft 2020-12) of the arguments and results of tools, made of the parts of the OpenAPI document.

A message without inner messages is written where it is used, so that most schemas need no references. Others become
$defs, because a message such as a literal may contain itself. Messages below DEPTH_MAX levels are any object, so that
the list of tools stays readable; the server validates them all the same.
"""

from __future__ import annotations

from typing import Any

from app.wire.render import is_map
from app.wire.schemas import Schema, Schemas, name_of

DEPTH_MAX = 6
_REFERENCE = "#/components/schemas/"

# The fields that each call needs, by message; the services require them too.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "core.WorkflowExecutionIdentifier": ("project", "domain", "name"),
    "core.Identifier": ("project", "domain", "name", "version"),
    "admin.NamedEntityIdentifier": ("project", "domain"),
    "admin.NamedEntityIdentifierListRequest": ("project", "domain"),
    "admin.ExecutionCreateRequest": ("project", "domain", "spec"),
    "admin.ExecutionSpec": ("launch_plan",),
    "admin.ResourceListRequest": ("id",),
    "admin.Sort": ("key",),
} | {
    f"admin.{name}": ("id",)
    for name in (
        "ExecutionRecoverRequest",
        "ExecutionRelaunchRequest",
        "ExecutionTerminateRequest",
        "WorkflowExecutionGetRequest",
        "WorkflowExecutionGetMetricsRequest",
        "WorkflowExecutionGetDataRequest",
    )
}


def arguments_schema(descriptor: Any) -> Schema:
    """Return the schema of a request: unknown fields are refused, the fields that each call needs are required."""
    return _Builder(arguments=True).document(descriptor)


def result_schema(descriptor: Any) -> Schema:
    """Return the schema of a response. Unset fields are left out (app/mcp/results.py), so none is required."""
    return _Builder(arguments=False).document(descriptor)


class _Builder:
    """Builds one schema."""

    def __init__(self, *, arguments: bool) -> None:
        self._arguments = arguments
        self._schemas = Schemas()
        self._defs: dict[str, Schema] = {}
        self._depths: dict[str, int] = {}

    def document(self, root: Any) -> Schema:
        self._schemas.reference(root)
        self._depths = _depths(root)
        schema = self._message(name_of(root))
        return {**schema, "$defs": dict(sorted(self._defs.items()))} if self._defs else schema

    def _message(self, name: str) -> Schema:
        made = self._converted(self._schemas.known[name])
        if self._arguments and name in _REQUIRED:
            made["required"] = list(_REQUIRED[name])
        return made

    def _converted(self, schema: Schema) -> Schema:
        """Return a part of the OpenAPI document as a schema of a tool: without null, because tools leave fields out."""
        if "anyOf" in schema and schema["anyOf"][-1] == {"type": "null"}:
            schema = {**schema["anyOf"][0], **{key: value for key, value in schema.items() if key != "anyOf"}}
        made: Schema = {}
        if "$ref" in schema:
            made = self._referred(schema["$ref"].removeprefix(_REFERENCE))
        for key, value in schema.items():
            if key == "properties":
                made[key] = {name: self._converted(one) for name, one in value.items() if self._kept(one)}
            elif key in ("items", "additionalProperties") and isinstance(value, dict):
                made[key] = self._converted(value)
            elif key == "type" and isinstance(value, list):
                made[key] = value[0]
            elif key == "description":
                # Arguments of tools are not part of a URL.
                made[key] = value.replace(" (send `%2B`)", "")
            elif key not in ("$ref", "deprecated") and not (key == "format" and value in _FORMATS_OMITTED):
                made[key] = value
        if self._arguments and schema.get("format") in ("int64", "uint64") and made["type"] == "string":
            # Proto JSON writes 64-bit numbers as text, and reads text and numbers.
            made["type"] = ["integer", "string"]
        return made

    def _kept(self, schema: Schema) -> bool:
        return not (self._arguments and schema.get("deprecated"))

    def _referred(self, name: str) -> Schema:
        target = self._schemas.known[name]
        if "enum" in target:
            return self._converted(target)
        if self._depths.get(name, DEPTH_MAX) >= DEPTH_MAX:
            return {"type": "object"}
        if not self._refers(target["properties"]):
            return self._message(name)
        if name not in self._defs:
            # A message may contain itself, so its name is registered before its fields are visited.
            self._defs[name] = {}
            self._defs[name] = self._message(name)
        return {"$ref": f"#/$defs/{name}"}

    def _refers(self, part: Any) -> bool:
        """Return whether a part refers to another message; an enumeration is no message."""
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).removeprefix(_REFERENCE)
            return (name in self._schemas.known and "enum" not in self._schemas.known[name]) or any(
                map(self._refers, part.values())
            )
        return isinstance(part, list) and any(map(self._refers, part))


# Formats that only generators of clients use.
_FORMATS_OMITTED = {"int32", "int64", "uint64", "double", "byte"}


def _depths(root: Any) -> dict[str, int]:
    """Return the number of levels from the root to each message type, on the shortest path."""
    depths = {name_of(root): 0}
    level, depth = [root], 0
    while level:
        depth += 1
        following: list[Any] = []
        for field in (field for descriptor in level for field in descriptor.fields):
            child = field.message_type
            if child is not None and is_map(field):
                child = child.fields_by_name["value"].message_type
            if child is not None and name_of(child) not in depths:
                depths[name_of(child)] = depth
                following.append(child)
        level = following
    return depths
