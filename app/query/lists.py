"""One page of a list: conditions, filters, joins, sort and token, as one SQL statement.

The statement depends on the shape of a request only (columns, functions, number of values, sort), so
it is compiled once per shape. A resource describes its list with a Listing; nothing else is per resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from flyteidl.admin import common_pb2
from sqlalchemy import ColumnElement, Table, and_, bindparam, exists, select

from app import schema
from app.context import Context
from app.query import filters as grammar
from app.query import pages
from app.statements import Statement

Shape = tuple[str, str, str, int]


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
    """

    model: type[schema.Base]
    entity: str
    joins: tuple[Join, ...] = ()
    marks: tuple[Mark, ...] = ()
    default_sort: pages.Sort = field(default=pages.Sort("id", True))

    @property
    def joinable(self) -> tuple[str, ...]:
        """Prefixes that filters may use besides the list's own."""
        return tuple(join.entity for join in self.joins)


# A statement with as many values as are allowed takes a third of a megabyte.
@lru_cache(maxsize=256)
def _statement(
    listing: Listing,
    columns: tuple[str, ...] | None,
    where: tuple[tuple[str, str], ...],
    shapes: tuple[Shape, ...],
    sort: pages.Sort,
    after: bool | None,
) -> Statement:
    """The statement of a shape. after: None from an offset, else whether the value before the page is NULL."""
    table = schema.table(listing.model)
    conditions: list[ColumnElement[bool]] = []
    for column, how in where:
        conditions.append(
            table.c[column].is_(None) if how == "null" else table.c[column] == bindparam(f"where_{column}")
        )
    named = [(shape, [f"f{i}_{j}" for j in range(shape[3])]) for i, shape in enumerate(shapes)]
    own = [(shape, names) for shape, names in named if shape[1] == listing.entity]
    conditions += [grammar.predicate(table.c[shape[2]], shape[0], names) for shape, names in own]
    source: Any = table
    for join in listing.joins:
        used = [(shape, names) for shape, names in named if shape[1] == join.entity]
        if not used:
            continue
        other = schema.table(grammar.ENTITIES[join.entity][1]).alias(f"j_{join.entity}")
        link = and_(*(table.c[mine] == other.c[theirs] for mine, theirs in join.on))
        predicates = [grammar.predicate(other.c[shape[2]], shape[0], names) for shape, names in used]
        if join.one:
            source = source.join(other, link)
            conditions += predicates
        else:
            conditions.append(exists().where(link, *predicates))
    if after is not None:
        conditions.append(pages.behind(table, sort, value_is_null=after))
    selected: list[Any] = [c for c in table.c if columns is None or c.key in (*columns, sort.key, "id")]
    for mark in listing.marks:
        other = schema.table(mark.model).alias(f"m_{mark.name}")
        selected.append(exists().where(other.c[mark.column] == table.c.id).correlate(table).label(mark.name))
    query = select(*selected).select_from(source).where(*conditions).order_by(*pages.order(table, sort))
    query = query.limit(bindparam("page_limit"))
    return Statement(query if after is not None else query.offset(bindparam("page_offset")))


async def page(
    ctx: Context,
    listing: Listing,
    *,
    rpc: str,
    where: Mapping[str, Any],
    filters: str | Sequence[grammar.Filter] = "",
    sort_by: common_pb2.Sort | None = None,
    limit: int,
    token: str,
    columns: tuple[str, ...] | None = None,
) -> tuple[Sequence[Any], str]:
    """One page and the token of the next, "" behind the last.

    shape:  where: column → value, None for IS NULL; filters: the request's text or what parse_filters made of it;
            columns: what to select (the sort key and id always come), None for all; limit 0: no limit
    errors: INVALID_ARGUMENT in upstream's order: filters, sort, token
    source: upstream ListInput handling in pkg/repositories/gormimpl
    """
    table = schema.table(listing.model)
    parsed = parse_filters(listing, filters) if isinstance(filters, str) else tuple(filters)
    sort = pages.read_sort(sort_by, table, listing.default_sort)
    start = pages.read_token(token, sort, table.c[sort.key], rpc)
    after = None if start.after is None else start.after[0] is None
    conditions = tuple((column, "null" if value is None else "eq") for column, value in where.items())
    statement = _statement(listing, columns, conditions, tuple(f.shape for f in parsed), sort, after)
    parameters: dict[str, Any] = {f"where_{column}": value for column, value in where.items() if value is not None}
    for i, one in enumerate(parsed):
        parameters.update({f"f{i}_{j}": value for j, value in enumerate(one.values)})
    if start.after is None:
        parameters["page_offset"] = start.offset
    else:
        parameters["after_value"], parameters["after_id"] = start.after
    rows = await ctx.db.all(statement, **parameters, page_limit=limit or 2**62)
    if not rows or len(rows) != limit:
        return rows, ""
    return rows, pages.write_token(sort, getattr(rows[-1], sort.key), rows[-1].id)


def parse_filters(listing: Listing, text: str) -> tuple[grammar.Filter, ...]:
    """The filters of a request for this list. errors: INVALID_ARGUMENT, see filters.parse"""
    return grammar.parse(text, own=listing.entity, joinable=listing.joinable)


def columns_of(listing: Listing) -> Table:
    """The table whose columns a list sorts and filters by."""
    return schema.table(listing.model)
