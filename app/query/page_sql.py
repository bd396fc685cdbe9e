"""Assemble the SELECT of one page from conditions, filters, joins, sort and strategy.

The statement depends only on the shape of a request (columns, filter functions, numbers of values, sort), so it is
compiled once per shape. `filter_sql` writes the condition of each filter.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, and_, bindparam, exists, func, literal_column, select, union_all
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.engine.interfaces import Dialect

from app.database import schema
from app.database.statements import PlanMode, Statement
from app.query import narrowing, pages, visible
from app.query.filter_sql import filter_condition, parameter_names, where_conditions, without_index
from app.query.filters import ENTITIES, FilterShape
from app.query.listing import Listing
from app.query.narrowing import Strategy

# Columns that lead the indexes in the order of created_at.
_SCOPE = frozenset({"project", "domain", "execution_project", "execution_domain"})


# Each statement is kept in memory, up to a third of a megabyte for a filter with the most values that are allowed.
@lru_cache(maxsize=256)
def page_statement(
    listing: Listing,
    columns: tuple[str, ...] | None,
    where: tuple[tuple[str, str], ...],
    shapes: tuple[FilterShape, ...],
    sort: pages.Sort,
    after_null: bool | None,
    limit: int,
    offset: bool,
    strategy: Strategy,
    shown: tuple[visible.Alternative, ...] | None = None,
) -> Statement:
    """Return the statement of a page.

    Args:
        listing: The list.
        columns: Columns to select; the sort key and id are always selected. None for all.
        where: Conditions of every row, as in `where_conditions`.
        shapes: Shapes of the filters.
        sort: The order.
        after_null: For a page after a row, whether the sort value of that row is NULL; None for other pages.
        limit: Rows of a page.
        offset: Whether rows are skipped, by the parameter page_offset.
        strategy: How the rows are found.
        shown: The places that the caller may see, None for every place.
    """
    table = schema.table(listing.model)
    source, conditions = _source(listing, where, shapes, strategy)
    if shown is not None:
        project, domain = listing.place
        conditions.append(visible.condition(shown, table.c[project], None if domain is None else table.c[domain]))
    if after_null is not None:
        conditions.append(pages.after_condition(table, sort, value_is_null=after_null))
    selected: list[Any] = [c for c in table.c if columns is None or c.key in (*columns, sort.key, "id")]
    for flag in listing.flags:
        other = schema.table(flag.model).alias(f"m_{flag.name}")
        referring = select(other.c.id).where(other.c[flag.column] == table.c.id).correlate(table)
        # OFFSET 0 makes PostgreSQL look up the rows of one page. It would otherwise read all rows that refer to any.
        selected.append(exists(referring.offset(literal_column("0"))).label(flag.name))
    order = [] if narrowing.selects_one_row(listing, where, shapes) else pages.order(table, sort)

    def build(dialect: Dialect) -> Any:
        if strategy.merge is None:
            query = select(*selected).select_from(source).where(*conditions).order_by(*order)
            return pages.apply_limit(query, limit, offset=offset)
        # Indexes alone give the ids of the page; table rows are read for these ids only.
        ids = select(table.c[sort.key], table.c.id).select_from(source).where(*conditions)
        end: Any = bindparam("page_end") if offset else literal_column(str(limit))
        one = ids.order_by(*order).limit(end)
        merged = _merged(one, table, strategy.merge, shapes[strategy.merge], dialect)
        cut = pages.apply_limit(select(merged).order_by(*pages.order(merged, sort)), limit, offset=offset)
        found = cut.subquery("page")
        return select(*selected).join(found, found.c.id == table.c.id).order_by(*pages.order(found, sort))

    return Statement(build, plan_mode=PlanMode.AUTO if offset else _plan_mode(where, shapes, sort, strategy))


def _plan_mode(
    where: tuple[tuple[str, str], ...], shapes: tuple[FilterShape, ...], sort: pages.Sort, strategy: Strategy
) -> PlanMode:
    """Return how PostgreSQL plans the statement.

    The best plan for a filter depends on its value (CUSTOM), except for merged pages. A page of a whole project in the
    order of an index has one good plan (GENERIC). Other pages, such as the versions of one name, are left to PostgreSQL
    (AUTO): some names have many versions, others few.
    """
    if any(shape.field != "state" for number, shape in enumerate(shapes) if number != strategy.merge):
        return PlanMode.CUSTOM if strategy.merge is None else PlanMode.AUTO
    one_plan = sort.key == "created_at" and all(column in _SCOPE for column, _ in where)
    return PlanMode.GENERIC if one_plan else PlanMode.AUTO


def _source(
    listing: Listing, where: tuple[tuple[str, str], ...], shapes: tuple[FilterShape, ...], strategy: Strategy
) -> tuple[Any, list[ColumnElement[bool]]]:
    """Return the FROM clause and the conditions of the WHERE clause."""
    table = schema.table(listing.model)
    conditions = where_conditions(table, where)
    named = [(shape, parameter_names(i, shape.size)) for i, shape in enumerate(shapes) if i != strategy.merge]
    own = [(shape, names) for shape, names in named if shape.entity == listing.entity]
    if strategy.gather is not None:
        ids = narrowing.gathered_ids(listing, where, shapes, strategy.gather)
        few = ids.cte("few").prefix_with("MATERIALIZED")
        conditions.append(table.c.id == few.c.id)
        own = [one for one in own if one[0] not in narrowing.gathered_filters(listing, shapes, strategy.gather)]
    conditions += [filter_condition(table, shape, names) for shape, names in own]
    source: Any = table
    for join in listing.joins:
        used = [(shape, names) for shape, names in named if shape.entity == join.entity]
        if not used or join.entity == strategy.gather:
            continue
        other = schema.table(ENTITIES[join.entity][1]).alias(f"j_{join.entity}")
        filtered = [filter_condition(other, shape, names) for shape, names in used]
        if join.by_id:
            conditions.append(exists().where(other.c.id == without_index(table.c[join.on[0][0]]), *filtered))
            continue
        link = and_(*(table.c[mine] == other.c[theirs] for mine, theirs in join.on))
        if join.one:
            source = source.join(other, link)
            conditions += filtered
        else:
            conditions.append(exists().where(link, *filtered))
    return source, conditions


def _merged(query: Any, table: Table, index: int, shape: FilterShape, dialect: Dialect) -> Any:
    """Return a subquery that runs `query` once for each value of a filter and merges the pages.

    PostgreSQL plans each branch of a UNION like a query of its own, so there one LATERAL branch runs for every value.
    SQLite has no LATERAL, and plans unions quickly.
    """
    column = table.c[shape.field]
    values = [bindparam(name, type_=column.type) for name in parameter_names(index, shape.size)]
    if dialect.name == "postgresql":
        each = func.unnest(array(values)).table_valued(Column("value", column.type)).render_derived()
        return select(query.where(column == each.c.value).lateral("branch")).select_from(each).subquery("merged")
    branches = (query.where(column == one).subquery(f"b{number}") for number, one in enumerate(values))
    return union_all(*map(select, branches)).subquery("merged")
