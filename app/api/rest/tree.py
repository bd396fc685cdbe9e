"""Which RPC a path means: a tree of path segments, exact where upstream's gateway has rules of its own.

A variable takes any one segment, an empty last one too. Matching asks first which verbs a path knows, so that a wrong
verb on a known path can be told from an unknown path. Upstream: ServeMux of net/http and of grpc-gateway v2.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.runtime.rows import VARIABLE

RouteT = TypeVar("RouteT")
_UNCLEAN = re.compile(r"//|/\.{1,2}(?:/|$)")


@dataclass(slots=True)
class _Node(Generic[RouteT]):
    literals: dict[str, _Node[RouteT]] = field(default_factory=dict)
    variable: _Node[RouteT] | None = None
    verbs: dict[str, RouteT] = field(default_factory=dict)


# The routes by verb at one end of the tree, and the segments that stood where variables are.
Match = tuple[dict[str, RouteT], list[str]]


class Tree(Generic[RouteT]):
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
        if verb in node.verbs:
            raise ValueError(f"{verb} {template} is served twice")
        node.verbs[verb] = route

    def match(self, segments: list[str]) -> list[Match[RouteT]]:
        """Return the ends of the tree that a path leads to: none for an unknown path, hardly ever more than one.

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
        return [(node.verbs, values)] if node.verbs else []


def _match(node: _Node[RouteT], segments: list[str], index: int, values: list[str], found: list[Match[RouteT]]) -> None:
    """Collect every route that matches: a segment may match a literal and a variable at once."""
    if index == len(segments):
        if node.verbs:
            found.append((node.verbs, values))
        return
    literal = node.literals.get(segments[index])
    if literal is not None:
        _match(literal, segments, index + 1, values, found)
    if node.variable is not None:
        _match(node.variable, segments, index + 1, [*values, segments[index]], found)


def chosen(matches: list[Match[RouteT]], verb: str) -> tuple[RouteT, list[str]] | None:
    """The route of a verb with the values of its variables; None where no match knows the verb."""
    for verbs, values in matches:
        route = verbs.get(verb)
        if route is not None:
            return route, values
    return None


def cleaned(path: str) -> str | None:
    """The path, as it was sent, without empty, "." and ".." segments; None where there is nothing to clean."""
    if _UNCLEAN.search(path) is None:
        return None
    clean = posixpath.normpath("/" + path.lstrip("/"))
    # normpath drops a last slash, which may stand for an empty last variable.
    return clean + "/" if path.endswith("/") and clean != "/" else clean
