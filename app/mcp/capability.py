"""The capability file of Naftiko 1.0.0-alpha2: the consumed operations of the API, and how REST and MCP expose them.

All operations come from tools.py, so the file lists exactly those that are served.
"""

from __future__ import annotations

from typing import Any

from app.mcp import adapter, tools
from app.mcp.tools import Tool
from app.runtime.rows import VARIABLE

_LABEL = "Flyte Admin API — Executions"
_NAMESPACE = "admin-executions"
_DATE = "2026-05-19"


def document() -> dict[str, Any]:
    """Return the file as plain data."""
    return {
        "naftiko": "1.0.0-alpha2",
        "info": {
            "label": _LABEL,
            "description": f"{_LABEL}. {len(tools.OPERATIONS)} operations. "
            f"Lead operation: {tools.OPERATIONS[0].title}. "
            "Self-contained Naftiko capability covering one Flyte business surface.",
            "tags": ["Flyte", "Executions"],
            "created": _DATE,
            "modified": _DATE,
        },
        "binds": [{"namespace": "env", "keys": {"FLYTE_API_KEY": "FLYTE_API_KEY"}}],
        "capability": {"consumes": [_consumed()], "exposes": [_rest(), _mcp()]},
    }


def _by_path() -> dict[str, list[Tool]]:
    found: dict[str, list[Tool]] = {}
    for tool in tools.OPERATIONS:
        found.setdefault(tools.binding_of(tool).template, []).append(tool)
    return found


def _name(template: str) -> str:
    """Return api-v1-executions-id.project-id.domain for /api/v1/executions/{id.project}/{id.domain}."""
    return VARIABLE.sub(r"\1", template).strip("/").replace("/", "-")


def _consumed() -> dict[str, Any]:
    return {
        "type": "http",
        "namespace": _NAMESPACE,
        "baseUri": "http://localhost:30080",
        "description": f"{_LABEL} business capability. Self-contained, no shared references.",
        "resources": [
            {"name": _name(template), "path": template, "operations": [_operation(tool) for tool in members]}
            for template, members in _by_path().items()
        ],
    }


def _operation(tool: Tool) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": tool.operation,
        "method": tools.binding_of(tool).verb,
        "description": tool.title,
        "outputRawFormat": "json",
        "outputParameters": [{"name": "result", "type": "object", "value": "$."}],
    }
    inputs = [
        {"name": name, "in": "path", "type": "string", "required": True} for name in tools.binding_of(tool).variables
    ]
    return {**made, "inputParameters": inputs} if inputs else made


def _rest() -> dict[str, Any]:
    return {
        "type": "rest",
        "namespace": f"{_NAMESPACE}-rest",
        "port": 8080,
        "description": f"REST adapter for {_LABEL}. One Spectral-compliant resource per consumed operation, prefixed "
        f"with {adapter.PREFIX}.",
        "resources": [
            {
                "path": adapter.path_of(members[0]),
                "name": _name(template).replace(".", "-"),
                "description": f"REST surface for {_name(template)}.",
                "operations": [
                    {"method": tools.binding_of(tool).verb, "name": tool.operation, **_routed(tool, "rest")}
                    for tool in members
                ],
            }
            for template, members in _by_path().items()
        ],
    }


def _mcp() -> dict[str, Any]:
    return {
        "type": "mcp",
        "namespace": f"{_NAMESPACE}-mcp",
        "port": 9090,
        "transport": "http",
        "description": f"MCP adapter for {_LABEL}. One tool per consumed operation, routed inline through this "
        "capability's consumes block.",
        "tools": [{"name": tool.name, **_routed(tool, "tools")} for tool in tools.OPERATIONS],
    }


def _routed(tool: Tool, source: str) -> dict[str, Any]:
    """Return how an operation of REST or MCP calls the consumed operation."""
    made: dict[str, Any] = {"description": tool.title}
    if source == "tools":
        made["hints"] = {
            "readOnly": tool.read_only,
            "destructive": tool.destructive,
            "idempotent": tool.idempotent,
        }
    made["call"] = f"{_NAMESPACE}.{tool.operation}"
    if variables := tools.binding_of(tool).variables:
        made["with"] = {name: f"{source}.{name}" for name in variables}
    return {**made, "outputParameters": [{"type": "object", "mapping": "$."}]}
