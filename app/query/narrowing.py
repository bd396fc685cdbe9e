"""Which way to the rows of a filtered page: indexes hold them in the order of created_at, under equal values.

- A filter on a joined entity becomes the ids of the joined rows, which are found first.
- A filter that allows several values is a page of each value, merged.
- A filter that an index cannot put in order is counted first, up to GATHERED_ROWS_MAX: that few rows are gathered and
  sorted; where there are more, walking the list in its order meets them soon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, func, literal_column, select, type_coerce
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.types import NullType

from app.database import schema
from app.database.statements import PlanMode, Statement
from app.query import filters as grammar
from app.query import pages
from app.query.filters import Filter, Shape, bound, parameters
from app.query.listing import Join, Listing
from app.runtime.context import Context

BRANCHES_MAX = 64
# A union repeats all other filters in each of its branches: more values take seconds to compile, and SQLite refuses
# 32,767 where it was not built to take more.
REPEATED_VALUES_MAX = 4096
GATHERED_ROWS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Way:
    """branch: the filter that is merged of its values. gather: the entity or column whose matches are gathered."""

    branch: int | None = None
    gather: str | None = None


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Filters as they go into the statement: their shapes, the values of the parameters, and the way."""

    shapes: tuple[Shape, ...]
    values: dict[str, Any]
    way: Way


def conditions(table: Any, where: tuple[tuple[str, str], ...]) -> list[ColumnElement[bool]]:
    """What every row of the list fulfils: parameters where_<column>."""
    return [
        table.c[column].is_(None) if how == "null" else table.c[column] == bindparam(f"where_{column}")
        for column, how in where
    ]


def predicate(table: Any, shape: Shape, names: list[str]) -> ColumnElement[bool]:
    """The condition of a filter on a column of table."""
    column = table.c[shape.field]
    if shape.constant is not None:
        value: ColumnElement[Any] = literal_column(
            str(shape.constant) if isinstance(shape.constant, int) else f"'{shape.constant}'"
        )
        same: ColumnElement[bool] = column == value
        return same if shape.function == "eq" else ~same
    return grammar.predicate(column, shape.function, names)


def is_key(listing: Listing, where: tuple[tuple[str, str], ...], shapes: tuple[Shape, ...]) -> bool:
    """Whether one row at most can pass, so that there is nothing to put in order."""
    equal = {column for column, how in where if how == "eq"}
    equal |= {one.field for one in shapes if one.function == "eq" and one.entity == listing.entity}
    return {column.key for column in schema.table(listing.model).primary_key.columns} <= equal


def walked(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column, so that no index of it is used."""
    return type_coerce(UnaryExpression(column, operator=custom_op("+")), BigInteger())


async def narrow(
    ctx: Context,
    listing: Listing,
    filters: tuple[Filter, ...],
    where: tuple[tuple[str, str], ...],
    given: Mapping[str, Any],
    sort: pages.Sort,
) -> Narrowed | None:
    """The way to the rows that pass the filters, None where there cannot be any.

    shape:  where and given: conditions and parameters that every row of the list fulfils
    """
    gather: str | None = None
    for join in listing.joins:
        if not join.by_id or not any(one.entity == join.entity for one in filters):
            continue
        ids = await _ids(ctx, join, tuple(one for one in filters if one.entity == join.entity))
        if not ids:
            return None
        if len(ids) > BRANCHES_MAX:
            gather = gather or join.entity
            continue
        mine = Filter("value_in", listing.entity, join.on[0][0], tuple(ids))
        filters = (*(one for one in filters if one.entity != join.entity), mine)
    filters = tuple(_told(listing, one) for one in filters)
    branch = _branch(listing, filters, sort)
    if branch is not None:
        filters = (*filters[:branch], _filled(filters[branch]), *filters[branch + 1 :])
    shapes = tuple(_shape(listing, one) for one in filters)
    if branch is not None or any(shape.constant is not None for shape in shapes):
        # Merged pages are in order already, and so are the few rows of a partial index.
        gather = None
    elif gather is None:
        gather = next((s.field for s in shapes if s.entity == listing.entity and s.field in listing.counted), None)
    values = bound(filters)
    if gather is not None:
        found = await ctx.db.one(_count(listing, where, shapes, gather), **given, **values, most=GATHERED_ROWS_MAX + 1)
        if found is None or not found.rows:
            return None
        gather = gather if found.rows <= GATHERED_ROWS_MAX else None
    return Narrowed(shapes, values, Way(branch, gather))


def _told(listing: Listing, one: Filter) -> Filter:
    """The same filter by the values that it allows, where these are few; each once."""
    if one.entity != listing.entity:
        return one
    values = tuple(dict.fromkeys(one.values))
    closed = dict(listing.closed).get(one.field)
    if one.function in ("ne", "value_not_in") and closed is not None:
        allowed = tuple(value for value in closed if value not in values)
        return replace(one, function="value_in", values=allowed) if allowed else one
    if one.function == "value_in" and len(values) == 1:
        return replace(one, function="eq", values=values)
    return replace(one, values=values) if one.function == "value_in" else one


def _branch(listing: Listing, filters: tuple[Filter, ...], sort: pages.Sort) -> int | None:
    """The filter to merge a page from: of those that an index has in order the one of most values."""
    if sort.key != "created_at":
        return None
    held = sum(len(one.values) for one in filters)
    fit = [
        (len(one.values), index)
        for index, one in enumerate(filters)
        if one.entity == listing.entity
        and one.field in listing.ordered
        and one.function == "value_in"
        and len(one.values) <= BRANCHES_MAX
        and len(one.values) * (held - len(one.values)) <= REPEATED_VALUES_MAX
    ]
    return max(fit)[1] if fit else None


def _filled(one: Filter) -> Filter:
    """As many values as the next power of two, for ids, so that few statements serve all numbers.

    What fills it up is NULL, which no row equals: a number would be somebody's.
    """
    if not isinstance(one.values[0], int):
        return one
    count = 1 << (len(one.values) - 1).bit_length()
    return replace(one, values=(*one.values, *[None] * (count - len(one.values))))


def _shape(listing: Listing, one: Filter) -> Shape:
    known = one.entity == listing.entity and len(one.values) == 1
    if known and (one.function, one.field, one.values[0]) in listing.constants:
        return one.shape._replace(constant=one.values[0])
    return one.shape


@lru_cache(maxsize=256)
def _ids_statement(entity: str, shapes: tuple[Shape, ...]) -> Statement:
    table = schema.table(grammar.ENTITIES[entity][1])
    predicates = [predicate(table, shape, parameters(i, shape.size)) for i, shape in enumerate(shapes)]
    return Statement(select(table.c.id).where(*predicates).limit(bindparam("most")), plan_mode=PlanMode.CUSTOM)


async def _ids(ctx: Context, join: Join, filters: tuple[Filter, ...]) -> list[int]:
    """The ids of the joined rows that pass the filters, up to one more than can be branches."""
    statement = _ids_statement(join.entity, tuple(one.shape for one in filters))
    rows = await ctx.db.all(statement, **bound(filters), most=BRANCHES_MAX + 1)
    return [row.id for row in rows]


def covered(listing: Listing, shapes: tuple[Shape, ...], gather: str) -> tuple[Shape, ...]:
    """The filters that are applied when the matches are gathered."""
    counted = {"state", gather} if gather in listing.counted else set()
    return tuple(
        shape
        for shape in shapes
        if shape.entity == gather or (shape.entity == listing.entity and shape.field in counted)
    )


def matching(
    listing: Listing, where: tuple[tuple[str, str], ...], shapes: tuple[Shape, ...], gather: str
) -> Select[Any]:
    """The ids of the listed rows that pass the filters of one joined entity or one counted column."""
    table = schema.table(listing.model).alias("found")
    inside = covered(listing, shapes, gather)
    named = [(shape, parameters(i, shape.size)) for i, shape in enumerate(shapes) if shape in inside]
    join = next((one for one in listing.joins if one.entity == gather), None)
    if join is None:
        own = [predicate(table, shape, names) for shape, names in named]
        # The order makes the index the way: PostgreSQL would rather read a table as long as it hopes to find enough.
        return select(table.c.id).where(*conditions(table, where), *own).order_by(table.c.state, table.c[gather])
    other = schema.table(grammar.ENTITIES[gather][1]).alias("joined")
    ids = select(other.c.id).where(*(predicate(other, shape, names) for shape, names in named))
    return select(table.c.id).where(_Among(table.c[join.on[0][0]], ids))


class _Among(ColumnElement[Any]):
    """column IN (ids), answered by one look-up of an index for each id, as far as rows are asked for.

    PostgreSQL would rather merge both in order, and read up to the whole index where the ids lie at its end.
    """

    inherit_cache = False

    def __init__(self, column: ColumnElement[Any], ids: Select[Any]) -> None:
        # A Boolean would be compared with 1 on SQLite, which hides the index.
        self.type = NullType()
        self.column, self.ids = column, ids


@compiles(_Among)
def _among(element: _Among, compiler: Any, **how: Any) -> str:
    return str(compiler.process(element.column.in_(element.ids), **how))


@compiles(_Among, "postgresql")
def _among_array(element: _Among, compiler: Any, **how: Any) -> str:
    column, ids = compiler.process(element.column, **how), compiler.process(element.ids, **how)
    return f"{column} = ANY (ARRAY({ids}))"


@lru_cache(maxsize=256)
def _count(listing: Listing, where: tuple[tuple[str, str], ...], shapes: tuple[Shape, ...], gather: str) -> Statement:
    """How many rows match, up to the parameter `most`."""
    found = matching(listing, where, shapes, gather).limit(bindparam("most")).subquery()
    return Statement(select(func.count().label("rows")).select_from(found), plan_mode=PlanMode.CUSTOM)
