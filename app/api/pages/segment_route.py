"""A page whose variables may hold escaped slashes, as the variables of the RPCs' paths do."""

from __future__ import annotations

from starlette.routing import Match, Route
from starlette.types import Scope

from app import errors
from app.api.rest.route_tree import route_path
from app.runtime.rows import VARIABLE
from app.wire import bind


class SegmentRoute(Route):
    """A route that splits the path before decoding it: `a%2Fb` is one segment, whose value is `a/b`.

    A version such as `feature/x` can be addressed then. Every variable matches one segment, which is not empty.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether this route serves a request, and the values of its variables."""
        found = self._variables(scope) if scope["type"] == "http" else None
        if found is None:
            return Match.NONE, {}
        verbs = self.methods or ()
        match = Match.FULL if scope["method"] in verbs else Match.PARTIAL
        return match, {"endpoint": self.endpoint, "path_params": {**scope.get("path_params", {}), **found}}

    def _variables(self, scope: Scope) -> dict[str, str] | None:
        template = self.path.strip("/").split("/")
        try:
            segments = bind.path_segments(route_path(scope))
        except errors.InvalidArgument:
            return None
        if len(segments) != len(template):
            return None
        found = {}
        for part, segment in zip(template, segments, strict=True):
            variable = VARIABLE.fullmatch(part)
            if (variable is None and part != segment) or not segment:
                return None
            if variable is not None:
                found[variable[1]] = segment
        return found
