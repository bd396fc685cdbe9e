"""One page of a list: conditions, filters, joins, sort and token, as one SQL statement.

The statement depends on the shape of a request only (columns, functions, number of values, sort), so
it is compiled once per shape. A resource describes its list with a Listing; nothing else is per resource.
How a filter becomes something that an index answers is in narrowing.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from flyteidl.admin import common_pb2
from sqlalchemy import Column, ColumnElement, Table, and_, bindparam, exists, func, literal_column, select, union_all
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.engine.interfaces import Dialect

from app import schema
from app.context import Context
from app.query import filters as grammar
from app.query import narrowing, pages
from app.query.filters import Shape
from app.query.listing import Join, Listing, Mark
from app.query.narrowing import Way
from app.statements import Statement

__all__ = ["Join", "Listing", "Mark", "page", "parse_filters"]


# A statement with as many values as are allowed takes a third of a megabyte.
@lru_cache(maxsize=256)
def _statement(
    listing: Listing,
    columns: tuple[str, ...] | None,
    where: tuple[tuple[str, str], ...],
    shapes: tuple[Shape, ...],
    sort: pages.Sort,
    after: bool | None,
    way: Way,
) -> Statement:
    """The statement of a shape. after: None from an offset, else whether the value before the page is NULL."""
    table = schema.table(listing.model)
    source, conditions = _source(listing, where, shapes, way)
    if after is not None:
        conditions.append(pages.behind(table, sort, value_is_null=after))
    selected: list[Any] = [c for c in table.c if columns is None or c.key in (*columns, sort.key, "id")]
    for mark in listing.marks:
        other = schema.table(mark.model).alias(f"m_{mark.name}")
        pointing = select(other.c.id).where(other.c[mark.column] == table.c.id).correlate(table)
        # The offset keeps PostgreSQL from reading all rows that point anywhere, once, instead of those of a page.
        selected.append(exists(pointing.offset(literal_column("0"))).label(mark.name))
    order = [] if narrowing.is_key(listing, where, shapes) else pages.order(table, sort)

    def build(dialect: Dialect) -> Any:
        if way.branch is None:
            query = select(*selected).select_from(source).where(*conditions)
            return _cut(query, order, offset=after is None)
        # The ids of the page come from indexes alone; only its own rows are read.
        ids = select(table.c[sort.key], table.c.id).select_from(source).where(*conditions)
        merged = _merged(ids, table, way.branch, shapes[way.branch], order, dialect, offset=after is None)
        found = _cut(select(merged), pages.order(merged, sort), offset=after is None).subquery("page")
        return select(*selected).join(found, found.c.id == table.c.id).order_by(*pages.order(found, sort))

    # The best plan for a filter depends on its value, but for branches, which have one way only.
    planned = way.branch is None and any(shape.field != "state" for shape in shapes)
    return Statement(build, planned_anew=planned)


def _cut(query: Any, order: list[Any], *, offset: bool) -> Any:
    """The rows of a page."""
    query = query.order_by(*order).limit(bindparam("page_limit"))
    return query.offset(bindparam("page_offset")) if offset else query


def _source(
    listing: Listing, where: tuple[tuple[str, str], ...], shapes: tuple[Shape, ...], way: Way
) -> tuple[Any, list[ColumnElement[bool]]]:
    """What to select from, and under which conditions."""
    table = schema.table(listing.model)
    conditions = narrowing.conditions(table, where)
    named = [(shape, grammar.parameters(i, shape.size)) for i, shape in enumerate(shapes) if i != way.branch]
    own = [(shape, names) for shape, names in named if shape.entity == listing.entity]
    if way.gather is not None:
        few = narrowing.matching(listing, where, shapes, way.gather).cte("few").prefix_with("MATERIALIZED")
        conditions.append(table.c.id == few.c.id)
        own = [one for one in own if one[0] not in narrowing.covered(listing, shapes, way.gather)]
    conditions += [narrowing.predicate(table, shape, names) for shape, names in own]
    source: Any = table
    for join in listing.joins:
        used = [(shape, names) for shape, names in named if shape.entity == join.entity]
        if not used or join.entity == way.gather:
            continue
        other = schema.table(grammar.ENTITIES[join.entity][1]).alias(f"j_{join.entity}")
        predicates = [narrowing.predicate(other, shape, names) for shape, names in used]
        if join.by_id:
            conditions.append(exists().where(other.c.id == narrowing.walked(table.c[join.on[0][0]]), *predicates))
            continue
        link = and_(*(table.c[mine] == other.c[theirs] for mine, theirs in join.on))
        if join.one:
            source = source.join(other, link)
            conditions += predicates
        else:
            conditions.append(exists().where(link, *predicates))
    return source, conditions


def _merged(
    query: Any, table: Table, index: int, shape: Shape, order: list[Any], dialect: Dialect, *, offset: bool
) -> Any:
    """One page of each value of a filter, in order, merged: reads a page and a row of each, however many there are.

    PostgreSQL plans a branch of a union as long as a whole query, so there the branches are one, run for each value.
    SQLite has no LATERAL, and plans unions quickly.
    """
    end: ColumnElement[Any] = bindparam("page_limit") + bindparam("page_offset") if offset else bindparam("page_limit")
    column = table.c[shape.field]
    values = [bindparam(name, type_=column.type) for name in grammar.parameters(index, shape.size)]

    def branch(value: ColumnElement[Any]) -> Any:
        return query.where(column == value).order_by(*order).limit(end)

    if dialect.name == "postgresql":
        each = func.unnest(array(values)).table_valued(Column("value", column.type)).render_derived()
        return select(branch(each.c.value).lateral("branch")).select_from(each).subquery("merged")
    return union_all(*(select(branch(one).subquery(f"b{i}")) for i, one in enumerate(values))).subquery("merged")


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
            columns: what to select (the sort key and id always come), None for all; limit 0: as many as are allowed
    errors: INVALID_ARGUMENT in upstream's order: filters, sort, token
    source: upstream ListInput handling in pkg/repositories/gormimpl
    """
    table = schema.table(listing.model)
    parsed = parse_filters(listing, filters) if isinstance(filters, str) else tuple(filters)
    sort = pages.read_sort(sort_by, table, listing.default_sort)
    start = pages.read_token(token, sort, table.c[sort.key], rpc)
    limit = pages.rows_of(ctx, limit)
    conditions = tuple((column, "null" if value is None else "eq") for column, value in where.items())
    given = {f"where_{column}": value for column, value in where.items() if value is not None}
    narrowed = await narrowing.narrow(ctx, listing, parsed, conditions, given, sort)
    if narrowed is None:
        return (), ""
    after = None if start.after is None else start.after[0] is None
    statement = _statement(listing, columns, conditions, narrowed.shapes, sort, after, narrowed.way)
    parameters = {**given, **narrowed.values}
    if start.after is None:
        parameters["page_offset"] = start.offset
    else:
        parameters["after_value"], parameters["after_id"] = start.after
    rows = await ctx.db.all(statement, **parameters, page_limit=limit)
    if not rows or len(rows) != limit:
        return rows, ""
    return rows, pages.write_token(sort, getattr(rows[-1], sort.key), rows[-1].id)


def parse_filters(listing: Listing, text: str) -> tuple[grammar.Filter, ...]:
    """The filters of a request for this list. errors: INVALID_ARGUMENT, see filters.parse"""
    return grammar.parse(text, own=listing.entity, joinable=listing.joinable)
