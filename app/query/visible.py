"""Narrow a list across projects to the places that its caller may see, in SQL.

The condition is an OR of alternatives, one per domain pattern. Each has the projects of that domain pattern: names as
one IN, for which the database uses its index, and starts of names as LIKE with `%` and `_` escaped. The SQL depends on
the numbers of names only, which are padded to powers of two, so few statements serve all callers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Text, and_, bindparam, false, or_, true

from app import errors
from app.auth.caller_access import Access
from app.auth.roles import ANY

_ESCAPE = "\\"
# SQLite refuses expressions that are nested deeper than 1,000.
PATTERNS_MAX = 500


class Alternative(NamedTuple):
    """The shape of the places with one domain pattern.

    Attributes:
        domain: "any", "name" or "start".
        every_project: Whether one of them is every project.
        names: Number of parameters for names of projects.
        starts: Number of parameters for starts of names.
    """

    domain: str
    every_project: bool
    names: int
    starts: int


class Visible(NamedTuple):
    """The places that a caller may see.

    Attributes:
        shape: The part of it on which the SQL depends; empty where the caller may see nothing.
        values: The values of the parameters, by name.
    """

    shape: tuple[Alternative, ...]
    values: dict[str, str | None]


def of(access: Access | None, *, with_domain: bool, prefix: str = "v") -> Visible | None:
    """Return the places that a caller may see, None where that is every place.

    Args:
        access: The roles and limits of the caller.
        with_domain: Whether the listed rows have a domain. Otherwise a project counts with any of its domains.
        prefix: The start of the names of parameters.

    Raises:
        ResourceExhausted: The caller has too many patterns.
    """
    if access is None:
        return None
    by_domain: dict[str, set[str]] = {}
    for _, project, domain in access.visible():
        by_domain.setdefault(domain if with_domain else ANY, set()).add(project)
    if ANY in by_domain.get(ANY, ()):
        return None
    shape: list[Alternative] = []
    values: dict[str, str | None] = {}
    for number, (domain, projects) in enumerate(sorted(by_domain.items())):
        shape.append(_add(f"{prefix}{number}", domain, projects, values))
    patterns = len(shape) + sum(one.starts for one in shape)
    if patterns > PATTERNS_MAX:
        raise errors.ResourceExhausted(f"the roles of the caller have {patterns} patterns; a list takes {PATTERNS_MAX}")
    return Visible(tuple(shape), values)


def _add(name: str, domain: str, projects: set[str], values: dict[str, str | None]) -> Alternative:
    starts = sorted(project for project in projects if project.endswith(ANY) and project != ANY)
    starts = [one for one in starts if not any(one != other and one.startswith(other[:-1]) for other in starts)]
    covered = tuple(one[:-1] for one in starts)
    names = sorted(one for one in projects if not one.endswith(ANY) and not one.startswith(covered))
    kind = "any" if domain == ANY else "start" if domain.endswith(ANY) else "name"
    if kind != "any":
        values[f"{name}_domain"] = _like(domain) if kind == "start" else domain
    every = ANY in projects
    if every:
        return Alternative(kind, True, 0, 0)
    for letter, texts in (("n", names), ("s", list(map(_like, starts)))):
        for index in range(_padded(len(texts))):
            # The padding is NULL, which equals no name.
            values[f"{name}_{letter}{index}"] = texts[index] if index < len(texts) else None
    return Alternative(kind, False, _padded(len(names)), _padded(len(starts)))


def _padded(count: int) -> int:
    return 1 << (count - 1).bit_length() if count else 0


def _like(start: str) -> str:
    text = start.removesuffix(ANY)
    for special in (_ESCAPE, "%", "_"):
        text = text.replace(special, _ESCAPE + special)
    return text + "%"


def condition(
    shape: Iterable[Alternative], project: ColumnElement[Any], domain: ColumnElement[Any] | None, prefix: str = "v"
) -> ColumnElement[bool]:
    """Return the SQL condition for rows in visible places.

    Args:
        shape: The shape of the places; without alternatives no row is visible.
        project: The column of the project.
        domain: The column of the domain, None where rows have none.
        prefix: The start of the names of parameters, as in `of`.
    """
    found = []
    for number, one in enumerate(shape):
        parts: list[ColumnElement[bool]] = []
        if domain is not None and one.domain != "any":
            parts.append(_equal(domain, one.domain == "start", f"{prefix}{number}_domain"))
        if not one.every_project:
            parts.append(_any_project(project, f"{prefix}{number}", one))
        found.append(and_(*parts) if parts else true())
    return or_(*found) if found else false()


def _any_project(project: ColumnElement[Any], name: str, one: Alternative) -> ColumnElement[bool]:
    parts: list[ColumnElement[bool]] = []
    if one.names:
        parts.append(project.in_([bindparam(f"{name}_n{i}", type_=Text()) for i in range(one.names)]))
    parts += [_equal(project, True, f"{name}_s{i}") for i in range(one.starts)]
    return or_(*parts)


def _equal(column: ColumnElement[Any], start: bool, name: str) -> ColumnElement[bool]:
    value: ColumnElement[Any] = bindparam(name, type_=Text())
    return column.like(value, escape=_ESCAPE) if start else column == value
