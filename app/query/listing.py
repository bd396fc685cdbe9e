"""What a list offers: the description that a resource gives of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.database import schema
from app.query import pages


@dataclass(frozen=True)
class Join:
    """How a joinable entity hangs on the listed one.

    on:  pairs (column of the listed table, column of the joined one)
    one: at most one joined row exists, so a join repeats no row; otherwise filters become one EXISTS, so that
         several filters speak of the same joined row and no listed row appears twice
    """

    entity: str
    on: tuple[tuple[str, str], ...]
    one: bool = True

    @property
    def by_id(self) -> bool:
        """Whether a column of the listed table holds the id of the joined row."""
        return self.one and len(self.on) == 1 and self.on[0][1] == "id"


@dataclass(frozen=True)
class Mark:
    """A column of the answer that says whether a row of `model` points at the listed row: column = listed.id."""

    name: str
    model: type[schema.Base]
    column: str


@dataclass(frozen=True, eq=False)
class Listing:
    """What a list offers: the table, its name in filters, its joins and the order when none is asked for.

    Each is made once, and statements are kept by it: not comparing its parts makes that look-up short.

    The rest says which indexes there are (alembic/versions/0006), for app/query/narrowing.py:
    constants: filters (function, column, value) that have a partial index, which applies to a value in the SQL only
    ordered:   columns with an index in the order of created_at, beside the conditions that every page has
    closed:    columns with few values, which are these: all but one are the others
    counted:   columns whose filters may match few rows of very many, with an index that counts them
    """

    model: type[schema.Base]
    entity: str
    joins: tuple[Join, ...] = ()
    marks: tuple[Mark, ...] = ()
    default_sort: pages.Sort = field(default=pages.Sort("created_at", True))
    constants: frozenset[tuple[str, str, Any]] = frozenset()
    ordered: frozenset[str] = frozenset()
    closed: tuple[tuple[str, tuple[str, ...]], ...] = ()
    counted: frozenset[str] = frozenset()

    @property
    def joinable(self) -> tuple[str, ...]:
        """Prefixes that filters may use besides the list's own."""
        return tuple(join.entity for join in self.joins)
