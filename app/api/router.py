"""Which RPC a path means: a tree of path segments, exact where upstream's gateway has rules of its own.

A variable takes any one segment, an empty last one too. Matching asks first which verbs a path knows, so that a wrong
verb on a known path can be told from an unknown path. Upstream: ServeMux of net/http and of grpc-gateway v2.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.api.rows import Binding, Rpc

_VARIABLE = re.compile(r"\{(.+)\}")
_UNCLEAN = re.compile(r"//|/\.{1,2}(?:/|$)")


@dataclass(frozen=True, slots=True)
class Route:
    """One REST form of an RPC. variables: dotted field paths in the order of their segments."""

    rpc: Rpc
    binding: Binding
    variables: tuple[str, ...]
    bound: frozenset[tuple[str, ...]]


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    verbs: dict[str, Route] = field(default_factory=dict)


class Router:
    """All routes of a server."""

    def __init__(self, rpcs: Iterable[Rpc]) -> None:
        self._root = _Node()
        for rpc in rpcs:
            for binding in rpc.bindings:
                self._add(rpc, binding)

    def _add(self, rpc: Rpc, binding: Binding) -> None:
        node, variables = self._root, []
        for segment in binding.template.strip("/").split("/"):
            match = _VARIABLE.fullmatch(segment)
            if match is None:
                node = node.literals.setdefault(segment, _Node())
            else:
                variables.append(match.group(1))
                node.variable = node.variable or _Node()
                node = node.variable
        bound = frozenset(tuple(variable.split(".")) for variable in variables)
        if binding.verb in node.verbs:
            raise ValueError(f"{binding.verb} {binding.template} is served twice")
        node.verbs[binding.verb] = Route(rpc, binding, tuple(variables), bound)

    def match(self, path: str) -> dict[str, tuple[Route, list[str]]]:
        """By verb, the route and the values of its variables; empty for an unknown path."""
        found: dict[str, tuple[Route, list[str]]] = {}
        _match(self._root, path[1:].split("/"), 0, [], found)
        return found


def _match(
    node: _Node, segments: list[str], index: int, values: list[str], found: dict[str, tuple[Route, list[str]]]
) -> None:
    if index == len(segments):
        for verb, route in node.verbs.items():
            found.setdefault(verb, (route, values))
        return
    literal = node.literals.get(segments[index])
    if literal is not None:
        _match(literal, segments, index + 1, values, found)
    if node.variable is not None:
        _match(node.variable, segments, index + 1, [*values, segments[index]], found)


def cleaned(path: str) -> str | None:
    """The path, as it was sent, without empty, "." and ".." segments; None where there is nothing to clean."""
    if _UNCLEAN.search(path) is None:
        return None
    clean = posixpath.normpath("/" + path.lstrip("/"))
    # normpath drops a last slash, which may stand for an empty last variable.
    return clean + "/" if path.endswith("/") and clean != "/" else clean
