"""Describe a list: its table, joins, flags, default order and indexes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.database import schema
from app.query import pages


@dataclass(frozen=True)
class Join:
    """How the rows of a joinable entity belong to a listed row.

    Attributes:
        entity: A key of `filters.ENTITIES`.
        on: Pairs (column of the listed table, column of the joined table).
        one: Whether a listed row has at most one joined row, so that a SQL join repeats no listed row. Otherwise all
            filters on the entity become one EXISTS: one joined row must meet all of them.
        counted: Whether an index can count the joined rows of a project and domain that match equalities.
    """

    entity: str
    on: tuple[tuple[str, str], ...]
    one: bool = True
    counted: bool = False

    @property
    def by_id(self) -> bool:
        """Whether a column of the listed table holds the id of the joined row."""
        return self.one and len(self.on) == 1 and self.on[0][1] == "id"


@dataclass(frozen=True)
class ExistsFlag:
    """A boolean column of the result: whether a row of `model` refers to the listed row.

    Attributes:
        name: Name of the column in the result.
        model: The referring table.
        column: The column of `model` that holds the id of the listed row.
    """

    name: str
    model: type[schema.Base]
    column: str


@dataclass(frozen=True, eq=False)
class Listing:
    """A list: its table, and the filters and sort keys that requests may use.

    Create each Listing once, at module level: statements are cached by its identity (eq=False), which makes the lookup
    short.

    Attributes:
        model: The listed table.
        entity: Its key in `filters.ENTITIES`.
        joins: Entities that filters may use besides the list's own.
        flags: Columns of the result that are true where referring rows exist.
        default_sort: The order without a requested one.
        partial_indexes: Filters (function, column, value) that have a partial index. The database uses such an index
            only when the value is written into the SQL.
        ordered_columns: Columns with an index (scope columns, column, created_at, id): it holds the rows of each value
            in the order of created_at.
        enumerated_columns: Columns with few possible values, with these values: `ne` can become `value_in`.
        place: The columns of project and domain by which roles narrow the list, None for a missing one.
        counted_columns: Columns whose filters may match few rows of very many, with an index that can count matches.
    """

    model: type[schema.Base]
    entity: str
    joins: tuple[Join, ...] = ()
    flags: tuple[ExistsFlag, ...] = ()
    default_sort: pages.Sort = field(default=pages.Sort("created_at", True))
    partial_indexes: frozenset[tuple[str, str, Any]] = frozenset()
    ordered_columns: frozenset[str] = frozenset()
    enumerated_columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    counted_columns: frozenset[str] = frozenset()
    place: tuple[str, str | None] = ("project", "domain")

    @property
    def joinable(self) -> tuple[str, ...]:
        """The prefixes that filters may use besides the list's own."""
        return tuple(join.entity for join in self.joins)
