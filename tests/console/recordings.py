"""Answers of upstream's flyteadmin to GET requests, from the conformance cases, for a console without a server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml

CONFORMANCE = Path(__file__).parents[1] / "conformance"
PROJECT = "conf-abcdefghij"
# The case that the console is shown: one whole run, with all that consoles read of it.
STORY = "story-success"
_WILDCARDS = {
    "timestamp": "2021-05-01T10:00:00Z",
    "duration": "1.500s",
    "url": "http://localhost/file",
    "exec": "run1",
    "int": "1",
    "hex": "ab",
    "word": "word",
    "token": "",
    "any": "",
}


@dataclass(frozen=True)
class Recording:
    """One recorded reply: path without the prefix of the server, query, body, and the case it comes from."""

    case: str
    path: str
    query: Mapping[str, str]
    body: Any


@dataclass
class Replies:
    """Answers GET requests as upstream's flyteadmin did.

    Attributes:
        operations: The path template of each GET operation.
        missing: Operations that were asked for and that no case records.
        unknown: Paths that upstream's flyteadmin does not have.
    """

    operations: Mapping[str, str]
    missing: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    _recorded: dict[str, list[Recording]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Group the recordings by operation."""
        for one in recordings():
            self._recorded.setdefault(self._operation(one.path) or "", []).append(one)

    def answer(self, url: str) -> tuple[int, Any]:
        """Return the status and the body of a request."""
        parts = urlsplit(url)
        operation = self._operation(parts.path)
        if operation is None:
            self.unknown.add(parts.path)
            return 404, {"code": 5, "message": "Not Found", "details": []}
        self.asked.add(operation)
        recorded = self._recorded.get(operation)
        if not recorded:
            self.missing.add(operation)
            return 501, {"code": 12, "message": "no recording", "details": []}
        path, query = unquote(parts.path), dict(parse_qsl(parts.query))
        return 200, max(recorded, key=lambda one: _likeness(one, path, query)).body

    def _operation(self, path: str) -> str | None:
        return next((name for name, template in self.operations.items() if _pattern(template).fullmatch(path)), None)


def _likeness(one: Recording, path: str, query: Mapping[str, str]) -> tuple[bool, ...]:
    """Return how well a recording fits a request: same thing, same parent, the shown run, and not an empty list."""
    parent = "unique_parent_id"
    return (
        one.path == path,
        one.query.get(parent) == query.get(parent),
        one.case == STORY,
        any(one.body.values()) if isinstance(one.body, dict) else False,
    )


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{[^}]+\\}", "[^/]+", re.escape(template)))


@cache
def recordings() -> tuple[Recording, ...]:
    """Return all recorded replies to GET requests in JSON."""
    return tuple(_read())


def _read() -> Iterator[Recording]:
    for file in sorted((CONFORMANCE / "cases").glob("*.yaml")):
        case = yaml.load(file.read_text(), yaml.CSafeLoader)
        for step in case["steps"]:
            request, expected = step.get("request", {}), step.get("expect", {})
            accepts = request.get("headers", {}).get("Accept", "application/json")
            if request.get("method") != "GET" or expected.get("status") != 200 or accepts != "application/json":
                continue
            query = request.get("query") or []
            if "json" in expected and not isinstance(query, str):
                pairs = {name: _filled(value) for name, value in query}
                yield Recording(case["id"], _filled(request["path"]), pairs, _filled(expected["json"]))


def _filled(value: Any) -> Any:
    """Return a value of a case with samples in place of variables and wildcards."""
    if isinstance(value, dict):
        return {_filled(key): _filled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one) for one in value]
    if not isinstance(value, str):
        return value
    filled = re.sub(r"<<(\w+)>>", lambda match: _WILDCARDS.get(match[1], match[0]), value)
    return re.sub(r"(?<!\$)\$\{(\w+)[^}]*\}", lambda match: PROJECT if match[1] == "project" else match[1], filled)
