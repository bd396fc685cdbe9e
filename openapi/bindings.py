"""The REST operations of the API: flyteidl's descriptors joined with tags.toml.

Proto: flyteidl/service/{admin,dataproxy,signal,identity,auth}.proto and their google.api.http options.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyteidl.datacatalog import datacatalog_pb2
from flyteidl.service import admin_pb2, auth_pb2, dataproxy_pb2, identity_pb2, signal_pb2
from google.api import annotations_pb2

ROOT = Path(__file__).parent.parent
SERVICES = tuple(
    service
    for module in (admin_pb2, dataproxy_pb2, signal_pb2, auth_pb2, identity_pb2, datacatalog_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)


@dataclass(frozen=True)
class Operation:
    """One line of tags.toml with its RPC.

    Attributes:
        rpc: The google.protobuf MethodDescriptor.
        verb: The HTTP verb; "" for an RPC without a REST form.
        template: The path; "" for an RPC without a REST form.
        body: Whether the HTTP body is the whole request message.
        immutable: Whether a successful reply never changes.
        reads: Whether an RPC without a REST form changes nothing.
    """

    id: str
    tag: str
    summary: str
    rpc: Any
    verb: str
    template: str
    body: bool
    module: str
    function: str
    immutable: bool
    reads: bool

    @property
    def served(self) -> bool:
        """Return whether the function exists. Reads its source, so that the generator imports no service."""
        path = ROOT / "app" / "services" / self.module
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        return source.exists() and self.function in _names(source)


def _names(source: Path) -> set[str]:
    """Return the names of the functions that a module defines or imports."""
    names: set[str] = set()
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def bindings_of(rpc: Any) -> list[tuple[str, str, bool]]:
    """Return verb, template and whether there is a body for each REST form of an RPC; the main one first."""
    rule = rpc.GetOptions().Extensions[annotations_pb2.http]
    found = []
    for form in (rule, *rule.additional_bindings):
        verb = form.WhichOneof("pattern")
        if verb is None:
            continue
        if form.body not in ("", "*"):
            raise SystemExit(f"{rpc.full_name}: a body of one field ({form.body}) is not supported")
        found.append((verb.upper(), getattr(form, verb), form.body == "*"))
    return found


def tags() -> dict[str, dict[str, Any]]:
    """Return the tables of tags.toml by tag."""
    with (ROOT / "openapi" / "tags.toml").open("rb") as file:
        return tomllib.load(file)


def operations() -> list[Operation]:
    """Return the lines of tags.toml in their order.

    Raises:
        SystemExit: An RPC or REST form has no line or two, or a line has no REST form.
    """
    rpcs = {rpc.name: rpc for service in SERVICES for rpc in service.methods}
    pending = {(name, n) for name, rpc in rpcs.items() for n in range(max(1, len(bindings_of(rpc))))}
    found = []
    for tag, table in tags().items():
        for operation_id, line in table["operations"].items():
            name, number = line.get("rpc", operation_id), line.get("binding", 0)
            if (name, number) not in pending:
                raise SystemExit(f"tags.toml: {operation_id} names no REST form, or one that has a line already")
            pending.remove((name, number))
            verb, template, body = (bindings_of(rpcs[name]) or [("", "", False)])[number]
            found.append(
                Operation(
                    id=operation_id,
                    tag=tag,
                    summary=line["summary"],
                    rpc=rpcs[name],
                    verb=verb,
                    template=template,
                    body=body,
                    module=line.get("module", table["module"]),
                    function=line.get("function") or re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(),
                    immutable=line.get("immutable", False),
                    reads=line.get("reads", False),
                )
            )
    if pending:
        raise SystemExit(f"tags.toml has no line for {sorted(pending)}")
    return found
