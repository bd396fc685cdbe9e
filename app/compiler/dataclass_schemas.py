"""Whether a dataclass may be passed where another is declared: a comparison of their JSON schemas.

The metadata of a struct type is the JSON schema of its class. A child class, which has all fields of its parent, may be
passed where the parent is declared, and so may a class with an equal schema. Upstream uses the Go library
json-schema-compare, which ignores differences in some keywords.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any
from urllib.parse import unquote

from google.protobuf.struct_pb2 import Struct, Value

_DIALECTS = {
    "http://json-schema.org/schema#",
    "http://json-schema.org/draft-07/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-04/schema#",
}
_TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
_SUBSCHEMA = ("not", "additionalProperties", "additionalItems", "propertyNames", "contains", "if", "then", "else")
_SUBSCHEMA_LISTS = ("allOf", "anyOf", "oneOf")
_SUBSCHEMA_MAPS = ("properties", "patternProperties", "definitions")
# The schemas `true` and `false` have bounds of 0; any other schema without a bound has none.
_ALWAYS: dict[str, Any] = {"minProperties": 0, "maxProperties": 0}
# A limit for schemas that refer to each other in large rings, which would take minutes to compare.
_PAIRS_MAX = 20_000
# The limit for schemas inside each other, including references.
_LEVELS_MAX = 60
# Patterns are compiled, never matched. Compiling takes time in proportion to the length.
_PATTERN_CHARACTERS_MAX = 1_000


class _Difference(IntEnum):
    NONE = 0
    IGNORED = 1  # Only in keywords that the comparison ignores.
    REAL = 2


def superset(subset: Struct, of: Struct) -> bool:
    """Return whether the schema `of` equals the schema `subset` or is at least as strict.

    Source: isSameTypeInJSON and isSuperTypeInJSON.
    """
    if subset == of:
        return True
    try:
        return _Comparison(_Schema(_plain(subset)), _Schema(_plain(of))).all() < _Difference.REAL
    except _BrokenSchema:
        return False


class _BrokenSchema(Exception):
    """The metadata is no JSON schema."""


class _Schema:
    """A valid JSON schema, with its references resolvable."""

    def __init__(self, root: Any) -> None:
        self.root = root
        if isinstance(root, dict) and root.get("$schema", "http://json-schema.org/schema#") not in _DIALECTS:
            # Parity: upstream cannot compile a dialect newer than draft 7, so such schemas must be equal.
            raise _BrokenSchema
        checked: set[int] = set()
        _check(root, checked)
        # References must lead to valid schemas. A definition without a reference to it may be invalid.
        pending, seen = [root], set[int]()
        while pending:
            node = pending.pop()
            if id(node) in seen or isinstance(node, bool):
                continue
            seen.add(id(node))
            if "$ref" in node:
                target = self._at(node["$ref"])
                _check(target, checked)
                pending.append(target)
            else:
                pending.extend(child for keyword, child in _children(node) if keyword != "definitions")

    def resolved(self, node: Any) -> dict[str, Any]:
        """Return a schema with its references followed; for `true` and `false` an equivalent schema."""
        for _ in range(100):
            if isinstance(node, bool):
                return _ALWAYS
            if "$ref" not in node:
                return node  # type: ignore[no-any-return]
            node = self._at(node["$ref"])
        raise _BrokenSchema

    def _at(self, pointer: str) -> Any:
        if not pointer.startswith("#"):
            # Parity: references to other documents are not fetched.
            raise _BrokenSchema
        node = self.root
        for part in pointer[1:].split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isdecimal() and len(key) < 10 and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, dict) and key in node:
                node = node[key]
            else:
                raise _BrokenSchema
        if not isinstance(node, dict | bool):
            raise _BrokenSchema
        return node


def _plain(struct: Struct) -> dict[str, Any]:
    """Return a struct as Python data. protobuf's own conversion turns 1.0 into 1, and fails for NaN."""
    return {key: _plain_value(value) for key, value in struct.fields.items()}


def _plain_value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _plain(value.struct_value)
        case "list_value":
            return [_plain_value(item) for item in value.list_value.values]
        case "number_value":
            if not math.isfinite(value.number_value):
                raise _BrokenSchema
            return value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
    return None


def _natural(value: Any) -> bool:
    return _number(value) and value >= 0 and value == int(value)


def _number(value: Any) -> bool:
    return isinstance(value, float)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value)) and len(set(value)) == len(value)


def _pattern(value: Any) -> bool:
    """Return whether a value is a valid regular expression within the limits."""
    if not _text(value) or len(value) > _PATTERN_CHARACTERS_MAX:
        return False
    try:
        re.compile(value)
    except (re.error, ValueError, OverflowError, RecursionError):
        return False
    return True


def _type(value: Any) -> bool:
    names = [value] if _text(value) else value
    return bool(names) and _texts(names) and set(names) <= _TYPES


_KEYWORDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("$ref", "$id", "id", "title", "description", "format"), _text),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _natural),
    **dict.fromkeys(("minimum", "maximum"), _number),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), lambda value: _number(value) or _flag(value)),
    "multipleOf": lambda value: _number(value) and value > 0,
    "pattern": _pattern,
    "type": _type,
    "required": _texts,
    "enum": lambda value: isinstance(value, list),
    "uniqueItems": _flag,
    **dict.fromkeys(_SUBSCHEMA_LISTS, lambda value: isinstance(value, list) and len(value) > 0),
    **dict.fromkeys((*_SUBSCHEMA_MAPS, "dependencies"), lambda value: isinstance(value, dict)),
    "patternProperties": lambda value: isinstance(value, dict) and all(map(_pattern, value)),
}


def _check(root: Any, checked: set[int]) -> None:
    """Raise _BrokenSchema unless root is a schema all the way down.

    Args:
        root: The schema.
        checked: The ids of the schemas that have been checked; this function skips them and adds others.
    """
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, bool) or id(node) in checked:
            continue
        checked.add(id(node))
        if not isinstance(node, dict):
            raise _BrokenSchema
        if not all(_KEYWORDS[keyword](value) for keyword, value in node.items() if keyword in _KEYWORDS):
            raise _BrokenSchema
        pending.extend(child for _, child in _children(node))


def _children(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the schemas directly inside a schema, each after its keyword."""
    for keyword, value in node.items():
        if keyword in _SUBSCHEMA or (keyword == "items" and not isinstance(value, list)):
            yield keyword, value
        elif keyword in _SUBSCHEMA_LISTS or keyword == "items":
            yield from ((keyword, schema) for schema in value)
        elif keyword in _SUBSCHEMA_MAPS:
            yield from ((keyword, schema) for schema in value.values())
        elif keyword == "dependencies":
            yield from ((keyword, schema) for schema in value.values() if not _texts(schema))


class _Comparison:
    """Compares two schemas: `subset` is the declared type, `superset` the type of the value."""

    def __init__(self, subset: _Schema, superset_: _Schema) -> None:
        self.subset, self.superset = subset, superset_
        # Deviates: for a schema that contains itself, upstream recurses until the stack overflows. Here a pair whose
        # comparison has begun counts as equal, and each pair is compared once.
        self.known: dict[tuple[int, int], _Difference] = {}
        self.level = 0

    def all(self) -> _Difference:
        return self._pair(self.subset.root, self.superset.root)

    def _pair(self, left: Any, right: Any) -> _Difference:
        small, large = self.subset.resolved(left), self.superset.resolved(right)
        pair = id(small), id(large)
        if pair not in self.known:
            if len(self.known) >= _PAIRS_MAX or self.level >= _LEVELS_MAX:
                return _Difference.REAL
            self.known[pair] = _Difference.NONE
            self.level += 1
            self.known[pair] = max(self._differences(small, large))
            self.level -= 1
        return self.known[pair]

    def _differences(self, small: dict[str, Any], large: dict[str, Any]) -> Iterator[_Difference]:
        have, given = set(_type_names(small)), set(_type_names(large))
        yield _real(have <= given)
        # A schema without a type has the type object.
        yield _real(given - have <= (set() if have else {"object"}))
        if "string" in have:
            yield from _strings(small, large)
        if "number" in have:
            yield from _numbers(small, large)
        if "array" in have:
            yield from self._arrays(small, large)
        if "object" in have or not have:
            yield from self._objects(small, large)
        for keyword in _SUBSCHEMA_LISTS:
            yield from self._alternatives(small.get(keyword, []), large.get(keyword, []))
        if "const" in small:
            yield _real("const" in large and _same(small["const"], large["const"]))

    def _arrays(self, small: dict[str, Any], large: dict[str, Any]) -> Iterator[_Difference]:
        yield _at_least(small, large, "minItems")
        yield _at_most(small, large, "maxItems")
        if "items" in small:
            ours, theirs = small["items"], large.get("items")
            if isinstance(ours, list) and isinstance(theirs, list):
                yield _real(len(ours) == len(theirs))
                yield from map(self._pair, ours, theirs)
            elif theirs is None or isinstance(ours, list) or isinstance(theirs, list):
                yield _Difference.REAL
            else:
                yield self._pair(ours, theirs)
        if any(isinstance(side.get("items"), list) for side in (small, large)):
            yield _Difference.IGNORED
        yield _real(not small.get("uniqueItems", False) or large.get("uniqueItems", False))

    def _objects(self, small: dict[str, Any], large: dict[str, Any]) -> Iterator[_Difference]:
        if any(side.get("additionalProperties", True) is not True for side in (small, large)):
            yield _Difference.IGNORED
        if any(side.get(keyword) for side in (small, large) for keyword in ("dependencies", "patternProperties")):
            yield _Difference.IGNORED
        if "not" in small or "not" in large:
            yield _Difference.IGNORED
        yield _real(set(small.get("required", ())) <= set(large.get("required", ())))
        yield _at_least(small, large, "minProperties")
        yield _at_most(small, large, "maxProperties")
        for keyword in ("if", "then", "else"):
            ours, theirs = _conditional(small, keyword), _conditional(large, keyword)
            if ours is not None or theirs is not None:
                equal = ours is not None and theirs is not None and self._deep(ours, theirs) == _Difference.NONE
                yield _real(equal)
        properties = large.get("properties", {})
        for name, schema in small.get("properties", {}).items():
            yield self._pair(schema, properties[name]) if name in properties else _Difference.REAL

    def _alternatives(self, ours: list[Any], theirs: list[Any]) -> Iterator[_Difference]:
        yield _real(bool(ours) == bool(theirs))
        if ours:
            yield from (_real(any(self._deep(a, b) == _Difference.NONE for a in ours)) for b in theirs)

    def _deep(self, left: Any, right: Any) -> _Difference:
        """Compare two schemas like `_pair`, but `true` and `false` are only equal to themselves."""
        if isinstance(left, bool) or isinstance(right, bool):
            return _real(left is right)
        return self._pair(left, right)


def _real(fine: bool) -> _Difference:
    return _Difference.NONE if fine else _Difference.REAL


def _type_names(schema: dict[str, Any]) -> list[str]:
    names = schema.get("type", [])
    return [names] if isinstance(names, str) else names


def _conditional(schema: dict[str, Any], keyword: str) -> Any:
    # `if` has no effect without `then` or `else`, and these have none without `if`.
    if "if" in schema and ("then" in schema or "else" in schema):
        return schema.get(keyword)
    return None


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


def _comparable(value: Any) -> tuple[type, str]:
    """Return a hashable key that is equal for equal values of the same type."""
    return type(value), value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _at_least(small: dict[str, Any], large: dict[str, Any], keyword: str) -> _Difference:
    """Compare a lower bound, which the superset may raise but not drop."""
    return _real(keyword not in small or (keyword in large and large[keyword] >= small[keyword]))


def _at_most(small: dict[str, Any], large: dict[str, Any], keyword: str) -> _Difference:
    """Compare an upper bound, which the superset may lower but not drop."""
    return _real(keyword not in small or (keyword in large and large[keyword] <= small[keyword]))


def _strings(small: dict[str, Any], large: dict[str, Any]) -> Iterator[_Difference]:
    yield _real(small.get("format", "") == large.get("format", ""))
    if "enum" in small:
        # Parity: the empty string is always allowed, because upstream compareString pads its list with it.
        allowed = {_comparable(choice) for choice in (*small["enum"], "")}
        yield _real(all(_comparable(value) in allowed for value in large.get("enum", ())))
    if "pattern" in small:
        yield _real(small["pattern"] == large.get("pattern"))
    yield _at_most(small, large, "maxLength")
    yield _at_least(small, large, "minLength")


def _numbers(small: dict[str, Any], large: dict[str, Any]) -> Iterator[_Difference]:
    yield _at_most(small, large, "maximum")
    yield _at_least(small, large, "minimum")
    if any(keyword in side for side in (small, large) for keyword in ("exclusiveMinimum", "exclusiveMaximum")):
        yield _Difference.IGNORED
    if "multipleOf" in small or "multipleOf" in large:
        ours, theirs = small.get("multipleOf"), large.get("multipleOf")
        yield _real(ours is not None and theirs is not None and theirs % ours == 0)
