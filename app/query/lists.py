"""One page of a list: conditions, filters, joins, sort and token, as one SQL statement.

The statement depends on the shape of a request only (columns, functions, number of values, sort), so
it is compiled once per shape. A resource describes its list with a Listing; nothing else is per resource.
How a filter becomes something that an index answers is in narrowing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from flyteidl.admin import common_pb2
from google.protobuf.message import Message
from sqlalchemy import Column, ColumnElement, Table, and_, bindparam, exists, func, literal_column, select, union_all
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.engine.interfaces import Dialect

from app.database import schema
from app.database.statements import PlanMode, Statement
from app.query import filters as grammar
from app.query import narrowing, pages
from app.query.filters import Shape
from app.query.listing import Join, Listing, Mark
from app.query.narrowing import Way
from app.runtime.context import Context
from app.settings.limits import Limits

__all__ = ["Join", "Listing", "Mark", "page", "parse_filters"]


# Columns that lead the indexes in the order of created_at.
_SCOPE = frozenset({"project", "domain", "execution_project", "execution_domain"})


# A statement with as many values as are allowed takes a third of a megabyte.
@lru_cache(maxsize=256)
def _statement(
    listing: Listing,
    columns: tuple[str, ...] | None,
    where: tuple[tuple[str, str], ...],
    shapes: tuple[Shape, ...],
    sort: pages.Sort,
    after: bool | None,
    limit: int,
    offset: bool,
    way: Way,
) -> Statement:
    """The statement of a shape.

    shape:  after: whether the value before the page is NULL, None where nothing or an offset comes before it
    """
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
            query = select(*selected).select_from(source).where(*conditions).order_by(*order)
            return pages.cut(query, limit, offset=offset)
        # The ids of the page come from indexes alone; only its own rows are read.
        ids = select(table.c[sort.key], table.c.id).select_from(source).where(*conditions)
        end: Any = bindparam("page_end") if offset else literal_column(str(limit))
        one = ids.order_by(*order).limit(end)
        merged = _merged(one, table, way.branch, shapes[way.branch], dialect)
        found = pages.cut(select(merged).order_by(*pages.order(merged, sort)), limit, offset=offset).subquery("page")
        return select(*selected).join(found, found.c.id == table.c.id).order_by(*pages.order(found, sort))

    return Statement(build, plan_mode=PlanMode.AUTO if offset else _plan_mode(where, shapes, sort, way))


def _plan_mode(where: tuple[tuple[str, str], ...], shapes: tuple[Shape, ...], sort: pages.Sort, way: Way) -> PlanMode:
    """The best plan for a filter depends on its value, but for branches, which have one way only.

    A whole project in the order of an index has one way too, and so have its branches. Some names have many versions,
    others few: what is best for a name PostgreSQL finds itself.
    """
    if any(shape.field != "state" for number, shape in enumerate(shapes) if number != way.branch):
        return PlanMode.CUSTOM if way.branch is None else PlanMode.AUTO
    one_way = sort.key == "created_at" and all(column in _SCOPE for column, _ in where)
    return PlanMode.GENERIC if one_way else PlanMode.AUTO


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


def _merged(query: Any, table: Table, index: int, shape: Shape, dialect: Dialect) -> Any:
    """The query for each value of a filter: a page of each, which are merged, however many rows there are.

    PostgreSQL plans a branch of a union as long as a whole query, so there the branches are one, run for each value.
    SQLite has no LATERAL, and plans unions quickly.
    """
    column = table.c[shape.field]
    values = [bindparam(name, type_=column.type) for name in grammar.parameters(index, shape.size)]
    if dialect.name == "postgresql":
        each = func.unnest(array(values)).table_valued(Column("value", column.type)).render_derived()
        return select(query.where(column == each.c.value).lateral("branch")).select_from(each).subquery("merged")
    branches = (query.where(column == one).subquery(f"b{number}") for number, one in enumerate(values))
    return union_all(*map(select, branches)).subquery("merged")


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
    shown: Callable[[Any], Message] | None = None,
) -> tuple[Sequence[Any], str]:
    """One page and the token of the next, "" behind the last.

    shape:  where: column → value, None for IS NULL; filters: the request's text or what parse_filters made of it;
            columns: what to select (the sort key and id always come), None for all; limit 0: as many as are allowed;
            shown: the message of a row, where it may be much smaller than the row
    units:  a page has at most limits.listReplyBytesMax bytes, or one row
    errors: INVALID_ARGUMENT in upstream's order: filters, sort, token
    source: upstream ListInput handling in pkg/repositories/gormimpl
    """
    table = schema.table(listing.model)
    parsed = parse_filters(listing, filters, ctx.settings.limits) if isinstance(filters, str) else tuple(filters)
    sort = pages.read_sort(sort_by, table, listing.default_sort)
    start = pages.read_token(token, sort, table.c[sort.key], rpc)
    limit = pages.rows_of(ctx, limit)
    conditions = tuple((column, "null" if value is None else "eq") for column, value in where.items())
    given = {f"where_{column}": value for column, value in where.items() if value is not None}
    narrowed = await narrowing.narrow(ctx, listing, parsed, conditions, given, sort)
    if narrowed is None:
        return (), ""
    after = None if start.after is None else start.after[0] is None
    statement = _statement(
        listing, columns, conditions, narrowed.shapes, sort, after, limit, start.offset > 0, narrowed.way
    )
    parameters = {**given, **narrowed.values, **start.parameters}
    parameters["page_end"] = min(start.offset + limit, pages.OFFSET_MAX)
    found = await ctx.db.all(statement, **parameters)
    rows = _fitting(found, ctx.settings.limits.list_reply_bytes_max, shown)
    is_last = len(found) != limit and len(rows) == len(found)
    if is_last or not rows:
        return rows, ""
    return rows, pages.next_token(ctx, start, len(rows), sort, getattr(rows[-1], sort.key), rows[-1].id)


def parse_filters(listing: Listing, text: str, limits: Limits) -> tuple[grammar.Filter, ...]:
    """Parse the filters of a request for this list; see `filters.parse`."""
    return grammar.parse(text, limits=limits, own=listing.entity, joinable=listing.joinable)


def _fitting(rows: Sequence[Any], bytes_max: int, shown: Callable[[Any], Message] | None) -> Sequence[Any]:
    """Return the first rows that have at most bytes_max bytes together in a reply, at least one."""
    if sum(map(_size, rows)) <= bytes_max:
        return rows
    total = 0
    for count, row in enumerate(rows):
        total += _size(row) if shown is None else shown(row).ByteSize()
        if total > bytes_max and count:
            return rows[:count]
    return rows


def _size(row: Any) -> int:
    """Return about how many bytes a row has in a reply. Called for each row of each page."""
    return sum(len(value) for value in row if isinstance(value, (bytes, str)))
