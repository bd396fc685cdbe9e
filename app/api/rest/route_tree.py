"""Routes by path: a tree of path segments, with the rules of upstream's gateway.

A variable matches any one segment, an empty last one too. Matching ignores the verb at first, so that a known path
with a wrong verb (501) differs from an unknown path (404).

Source: ServeMux of net/http and of grpc-gateway v2.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import quote

from starlette.types import Scope

from app.runtime.rows import VARIABLE

RouteT = TypeVar("RouteT")
_UNCLEAN = re.compile(r"//|/\.{1,2}(?:/|$)")


@dataclass(slots=True)
class _Node(Generic[RouteT]):
    """One place in the tree.

    Attributes:
        literals: The next node by the segment that leads to it.
        variable: The next node for any other segment.
        routes: The routes of the path that ends here, by verb.
    """

    literals: dict[str, _Node[RouteT]] = field(default_factory=dict)
    variable: _Node[RouteT] | None = None
    routes: dict[str, RouteT] = field(default_factory=dict)


# The routes of one path by verb, and the values of its variables.
Match = tuple[dict[str, RouteT], list[str]]


class RouteTree(Generic[RouteT]):
    """All routes of a server, by the segments of their paths."""

    def __init__(self) -> None:
        self._root: _Node[RouteT] = _Node()

    def add(self, verb: str, template: str, route: RouteT) -> None:
        """Add a route. Raises ValueError where the verb and template are taken."""
        node = self._root
        for segment in template.strip("/").split("/"):
            if VARIABLE.fullmatch(segment) is None:
                node = node.literals.setdefault(segment, _Node())
            else:
                node.variable = node.variable or _Node()
                node = node.variable
        if verb in node.routes:
            raise ValueError(f"{verb} {template} is served twice")
        node.routes[verb] = route

    def match(self, segments: list[str]) -> list[Match[RouteT]]:
        """Return the templates that a path matches, literals first: none for an unknown path, hardly ever two.

        Args:
            segments: The path's decoded segments, see `bind.path_segments`.
        """
        node, values = self._root, []
        for index, segment in enumerate(segments):
            literal = node.literals.get(segment)
            if literal is not None and node.variable is None:
                node = literal
            elif literal is None and node.variable is not None:
                values.append(segment)
                node = node.variable
            elif literal is None:
                return []
            else:
                found: list[Match[RouteT]] = []
                _match(node, segments, index, values, found)
                return found
        return [(node.routes, values)] if node.routes else []


def _match(node: _Node[RouteT], segments: list[str], index: int, values: list[str], found: list[Match[RouteT]]) -> None:
    """Collect every route that matches: a segment may match a literal and a variable at once."""
    if index == len(segments):
        if node.routes:
            found.append((node.routes, values))
        return
    literal = node.literals.get(segments[index])
    if literal is not None:
        _match(literal, segments, index + 1, values, found)
    if node.variable is not None:
        _match(node.variable, segments, index + 1, [*values, segments[index]], found)


def select(matches: list[Match[RouteT]], verb: str) -> tuple[RouteT, list[str]] | None:
    """Return the route for a verb and the values of its variables; None where no match has that verb."""
    for routes, values in matches:
        route = routes.get(verb)
        if route is not None:
            return route, values
    return None


def clean_path(path: str) -> str | None:
    """Return the path, still escaped, without empty, "." and ".." segments; None where it is clean already."""
    if _UNCLEAN.search(path) is None:
        return None
    clean = posixpath.normpath("/" + path.lstrip("/"))
    # normpath drops a slash at the end, which may stand for an empty last variable.
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def route_path(scope: Scope) -> bytes:
    """Return the path as sent, without the prefix under which this application is mounted."""
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    mounted = scope.get("root_path", "")
    if not mounted:
        return path
    root = quote(mounted).encode()
    return path[len(root) :] if path.startswith(root + b"/") else path
