"""The names under which versions are registered: each once, whatever the number of its versions.

Names are found by skipping: an index gives the first name, then the first one behind it, and so on. A page costs as
many look-ups as it has names, not as there are versions (upstream groups all versions for every page).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from flyteidl.admin import common_pb2
from sqlalchemy import Column, Select, Table, bindparam, func, literal_column, select, tuple_

from app import errors, schema
from app.context import Context
from app.query import pages
from app.statements import Statement

ASCENDING = pages.Sort("name", True)
_PARTS = ("project", "domain", "name")


def check_key(sort: pages.Sort) -> None:
    """That names have what they are to be sorted by."""
    if sort.key not in _PARTS:
        raise errors.InvalidArgument(f"invalid sort key '{sort.key}'")


def read_sort(sort_by: common_pb2.Sort | None, table: Table) -> pages.Sort:
    """The order of a list of names, which have one project and one domain: by name.

    Deviates: upstream's database fails at a key that names do not have, with UNKNOWN.
    errors: INVALID_ARGUMENT for another key or an unknown direction
    """
    sort = pages.read_sort(sort_by, table, ASCENDING)
    check_key(sort)
    # All rows are alike in project and domain, and then the names decide.
    return pages.Sort("name", sort.ascending) if sort.key == "name" else ASCENDING


def skipping(model: type[schema.Base], sort: pages.Sort, *, after: bool) -> Select[Any]:
    """The names of project :project and domain :domain, in order, behind :after_value.

    The rows come in the order in which they are found. An ORDER BY would have the database find all of them first.
    """
    table = schema.table(model)
    first_of, behind = (func.min, operator.gt) if sort.ascending else (func.max, operator.lt)
    here = (table.c.project == bindparam("project"), table.c.domain == bindparam("domain"))
    start = select(first_of(table.c.name).label("name")).where(*here)
    if after:
        start = start.where(behind(table.c.name, bindparam("after_value")))
    names = start.cte("names", recursive=True)
    following = select(first_of(table.c.name)).where(*here, behind(table.c.name, names.c.name)).scalar_subquery()
    names = names.union_all(select(following).where(names.c.name.is_not(None)))
    return select(names.c.name).where(names.c.name.is_not(None))


@lru_cache(maxsize=64)
def _statement(model: type[schema.Base], sort: pages.Sort, after: bool) -> Statement:
    return Statement(skipping(model, sort, after=after).limit(bindparam("page_limit")).offset(bindparam("page_offset")))


@lru_cache(maxsize=8)
def _registered(model: type[schema.Base]) -> Statement:
    table = schema.table(model)
    parts = (table.c[part] == bindparam(part) for part in ("project", "domain", "name"))
    return Statement(select(literal_column("1").label("found")).select_from(table).where(*parts).limit(1))


async def is_registered(ctx: Context, model: type[schema.Base], id: common_pb2.NamedEntityIdentifier) -> bool:
    """Whether any version is registered under a name."""
    found = await ctx.db.one(_registered(model), project=id.project, domain=id.domain, name=id.name)
    return found is not None


def read_start(token: str, sort: pages.Sort, rpc: str) -> tuple[dict[str, Any], bool]:
    """The parameters after_value and page_offset of a token, and whether it continues behind a name.

    errors: INVALID_ARGUMENT for a token that is none of ours
    """
    start = pages.read_token(token, sort, schema.table(schema.NamedEntityMetadata).c.name, rpc)
    if start.after is None:
        return {"page_offset": start.offset}, False
    return {"page_offset": 0, "after_value": start.after[0]}, True


def next_token(rows: Sequence[Any], sort: pages.Sort, limit: int) -> str:
    """The token of the page behind these rows; "" behind the last page."""
    return pages.write_token(sort, rows[-1].name, 0) if rows and len(rows) == limit else ""


async def page(
    ctx: Context, model: type[schema.Base], request: common_pb2.NamedEntityIdentifierListRequest, *, rpc: str
) -> common_pb2.NamedEntityIdentifierList:
    """One page of the names of a project and domain.

    errors: INVALID_ARGUMENT for a sort key, direction or token
    source: upstream ListIdentifiers of the repositories, which ignore the request's filters
    """
    sort = read_sort(request.sort_by if request.HasField("sort_by") else None, schema.table(model))
    parameters, after = read_start(request.token, sort, rpc)
    limit = pages.rows_of(ctx, request.limit)
    rows = await ctx.db.all(
        _statement(model, sort, after),
        project=request.project,
        domain=request.domain,
        page_limit=limit,
        **parameters,
    )
    found = common_pb2.NamedEntityIdentifierList(token=next_token(rows, sort, limit))
    add, project, domain = found.entities.add, request.project, request.domain
    for row in rows:
        add(project=project, domain=domain, name=row.name)
    return found


@lru_cache(maxsize=32)
def _across(model: type[schema.Base], given: tuple[str, ...], sort: pages.Sort, after: bool) -> Statement:
    table = schema.table(model)
    columns = _order(table, sort)
    query = select(table.c.project, table.c.domain, table.c.name).group_by(*columns)
    query = query.where(*(table.c[part] == bindparam(part) for part in given))
    if after:
        last = tuple_(*(bindparam(f"after_{column.key}", type_=column.type) for column in columns))
        query = query.where(tuple_(*columns) > last if sort.ascending else tuple_(*columns) < last)
    query = query.order_by(*(column.asc() if sort.ascending else column.desc() for column in columns))
    return Statement(query.limit(bindparam("page_limit")).offset(bindparam("page_offset")))


def _order(table: Table, sort: pages.Sort) -> list[Column[Any]]:
    return [table.c[sort.key], *(table.c[part] for part in _PARTS if part != sort.key)]


async def page_across(
    ctx: Context, model: type[schema.Base], request: common_pb2.NamedEntityIdentifierListRequest, *, rpc: str
) -> common_pb2.NamedEntityIdentifierList:
    """As page, where project or domain is left out and stands for all of them; this reads every version.

    errors: INVALID_ARGUMENT for a sort key, direction or token
    """
    table = schema.table(model)
    sort = pages.read_sort(request.sort_by if request.HasField("sort_by") else None, table, pages.Sort("project", True))
    check_key(sort)
    start = pages.read_token(request.token, sort, table.c[sort.key], rpc)
    parameters: dict[str, Any] = {"page_offset": start.offset}
    if start.after is not None:
        # A token holds one value; texts of the database never have a NUL in them.
        last = (start.after[0] or "").split("\0")
        if len(last) != len(_PARTS):
            raise errors.InvalidArgument(f"invalid pagination token {request.token}" + (f" for {rpc}" if rpc else ""))
        parameters |= {f"after_{column.key}": value for column, value in zip(_order(table, sort), last, strict=True)}
    here = {part: getattr(request, part) for part in ("project", "domain") if getattr(request, part)}
    statement = _across(model, tuple(here), sort, start.after is not None)
    limit = pages.rows_of(ctx, request.limit)
    rows = await ctx.db.all(statement, page_limit=limit, **here, **parameters)
    token = ""
    if rows and len(rows) == limit:
        token = pages.write_token(sort, "\0".join(getattr(rows[-1], c.key) for c in _order(table, sort)), 0)
    return common_pb2.NamedEntityIdentifierList(
        entities=[
            common_pb2.NamedEntityIdentifier(project=row.project, domain=row.domain, name=row.name) for row in rows
        ],
        token=token,
    )


def check_list(request: common_pb2.NamedEntityIdentifierListRequest) -> None:
    """Upstream ValidateNamedEntityIdentifierListRequest."""
    for part in ("project", "domain"):
        if not getattr(request, part):
            raise errors.missing(part)
    pages.check_limit(request.limit)
