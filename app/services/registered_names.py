"""List the names under which versions are registered, each name once.

A table has one row for each name (alembic/versions/0007). Its key is in the order of the lists, so a page is a range of
the key. Upstream groups all versions for every page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from flyteidl.admin import common_pb2
from flyteidl.core import identifier_pb2
from sqlalchemy import Column, ColumnElement, Table, bindparam, select, tuple_

from app import errors
from app.database import schema
from app.database.statements import Statement
from app.query import pages, visible
from app.runtime.context import Context
from app.services.checks import field_or_none

ASCENDING = pages.Sort("name", True)
TABLE = schema.RegisteredName.__table__
# The table of the versions of each resource type.
MODELS: dict[int, type[schema.Base]] = {
    identifier_pb2.TASK: schema.Task,
    identifier_pb2.WORKFLOW: schema.Workflow,
    identifier_pb2.LAUNCH_PLAN: schema.LaunchPlan,
}
_PARTS = ("project", "domain", "name")


def check_key(sort: pages.Sort) -> None:
    """Raise INVALID_ARGUMENT for a sort key that names do not have."""
    if sort.key not in _PARTS:
        raise errors.InvalidArgument(f"invalid sort key '{sort.key}'")


def read_sort(sort_by: common_pb2.Sort | None, table: Table) -> pages.Sort:
    """Return the sort of a list of names of one project-domain.

    Deviates: upstream answers UNKNOWN, with the database's error, for a key that names do not have.

    Raises:
        errors.InvalidArgument: The key is not a part of a name, or the direction is unknown.
    """
    sort = pages.read_sort(sort_by, table, ASCENDING)
    check_key(sort)
    # All rows have the same project and domain, so a sort by one of these is a sort by name.
    return pages.Sort("name", sort.ascending) if sort.key == "name" else ASCENDING


def having(table: Table, *parts: str) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that select rows by these columns; the parameters have the names of the columns."""
    return (table.c[part] == bindparam(part) for part in parts)


def behind(name: ColumnElement[str], sort: pages.Sort) -> ColumnElement[bool]:
    """Return the condition that a name comes after the parameter after_value."""
    last: ColumnElement[str] = bindparam("after_value")
    return name > last if sort.ascending else name < last


def ordered(column: ColumnElement[Any], sort: pages.Sort) -> ColumnElement[Any]:
    """Return a column for ORDER BY, in the direction of a sort."""
    return column.asc() if sort.ascending else column.desc()


@lru_cache(maxsize=64)
def _statement(sort: pages.Sort, after: bool, limit: int, offset: bool) -> Statement:
    query = (
        select(TABLE.c.name)
        .where(*having(TABLE, "resource_type", "project", "domain"))
        .order_by(ordered(TABLE.c.name, sort))
    )
    if after:
        query = query.where(behind(TABLE.c.name, sort))
    return Statement(pages.apply_limit(query, limit, offset=offset))


_REGISTERED = Statement(select(TABLE.c.name).where(*having(TABLE, "resource_type", *_PARTS)), quick=True)


def name_key(resource_type: int, id: common_pb2.NamedEntityIdentifier) -> dict[str, Any]:
    """Return the key of a name, in the tables of registered names and of their metadata."""
    return {"resource_type": resource_type, "project": id.project, "domain": id.domain, "name": id.name}


async def is_registered(ctx: Context, resource_type: int, id: common_pb2.NamedEntityIdentifier) -> bool:
    """Return whether a version is registered under a name."""
    return await ctx.db.one(_REGISTERED, **name_key(resource_type, id)) is not None


def read_start(token: str, sort: pages.Sort, rpc: str) -> pages.Start:
    """Return the start of the page that a token names.

    Raises:
        InvalidArgument: The token is malformed or of another sort.
    """
    return pages.read_token(token, sort, TABLE.c.name, rpc)


def next_token(ctx: Context, start: pages.Start, rows: Sequence[Any], sort: pages.Sort, limit: int) -> str:
    """Return the token of the page behind these rows, "" behind the last page.

    Args:
        ctx: The call. A setting chooses upstream's tokens, which are offsets (switching.upstreamPageTokens).
        start: The start of this page.
        rows: The page.
        sort: The list's sort.
        limit: Rows of a full page.
    """
    if not rows or len(rows) != limit:
        return ""
    return pages.next_token(ctx, start, len(rows), sort, rows[-1].name, 0)


async def page(
    ctx: Context, resource_type: int, request: common_pb2.NamedEntityIdentifierListRequest, *, rpc: str
) -> common_pb2.NamedEntityIdentifierList:
    """Return a page of the names of a project-domain. Filters are ignored, as upstream does.

    Raises:
        errors.InvalidArgument: The sort or token is invalid.

    Source: upstream ListIdentifiers of the repositories.
    """
    sort = read_sort(field_or_none(request, "sort_by"), schema.table(MODELS[resource_type]))
    start = read_start(request.token, sort, rpc)
    limit = pages.effective_limit(ctx, request.limit)
    rows = await ctx.db.all(
        _statement(sort, start.after is not None, limit, start.offset > 0),
        resource_type=resource_type,
        project=request.project,
        domain=request.domain,
        **start.parameters,
    )
    found = common_pb2.NamedEntityIdentifierList(token=next_token(ctx, start, rows, sort, limit))
    add, project, domain = found.entities.add, request.project, request.domain
    for row in rows:
        add(project=project, domain=domain, name=row.name)
    return found


@lru_cache(maxsize=64)
def _across(
    parts: tuple[str, ...],
    sort: pages.Sort,
    after: bool,
    limit: int,
    offset: bool,
    shown: tuple[visible.Alternative, ...] | None,
) -> Statement:
    columns = _order(sort)
    query = select(*(TABLE.c[part] for part in _PARTS)).where(*having(TABLE, "resource_type", *parts))
    if shown is not None:
        query = query.where(visible.condition(shown, TABLE.c.project, TABLE.c.domain))
    if after:
        last = tuple_(*(bindparam(f"after_{column.key}", type_=column.type) for column in columns))
        query = query.where(tuple_(*columns) > last if sort.ascending else tuple_(*columns) < last)
    query = query.order_by(*(ordered(column, sort) for column in columns))
    return Statement(pages.apply_limit(query, limit, offset=offset))


def _order(sort: pages.Sort) -> list[Column[Any]]:
    return [TABLE.c[sort.key], *(TABLE.c[part] for part in _PARTS if part != sort.key)]


async def page_across(
    ctx: Context, resource_type: int, request: common_pb2.NamedEntityIdentifierListRequest, *, rpc: str
) -> common_pb2.NamedEntityIdentifierList:
    """Return a page of the names of all projects or of all domains that the caller may see.

    This may read every name.

    Raises:
        errors.InvalidArgument: The sort or token is invalid.
    """
    table = schema.table(MODELS[resource_type])
    sort = pages.read_sort(field_or_none(request, "sort_by"), table, pages.Sort("project", True))
    check_key(sort)
    start = pages.read_token(request.token, sort, TABLE.c[sort.key], rpc)
    parameters = start.parameters
    if start.after is not None:
        # A token has one value, so the parts of a name are joined by NUL, which no text of the database contains.
        last = (start.after[0] or "").split("\0")
        if len(last) != len(_PARTS):
            raise errors.InvalidArgument(f"invalid pagination token {request.token}" + (f" for {rpc}" if rpc else ""))
        parameters |= {f"after_{column.key}": value for column, value in zip(_order(sort), last, strict=True)}
    parts = {part: getattr(request, part) for part in ("project", "domain") if getattr(request, part)}
    limit = pages.effective_limit(ctx, request.limit)
    places = visible.of(ctx.access, with_domain=True)
    shown, values = (None, {}) if places is None else places
    statement = _across(tuple(parts), sort, start.after is not None, limit, start.offset > 0, shown)
    rows = await ctx.db.all(statement, resource_type=resource_type, **parts, **parameters, **values)
    token = ""
    if rows and len(rows) == limit:
        last_value = "\0".join(getattr(rows[-1], c.key) for c in _order(sort))
        token = pages.next_token(ctx, start, len(rows), sort, last_value, 0)
    return common_pb2.NamedEntityIdentifierList(
        entities=[
            common_pb2.NamedEntityIdentifier(project=row.project, domain=row.domain, name=row.name) for row in rows
        ],
        token=token,
    )


def check_list(request: common_pb2.NamedEntityIdentifierListRequest) -> None:
    """Raise INVALID_ARGUMENT without project, domain or limit (upstream ValidateNamedEntityIdentifierListRequest)."""
    for part in ("project", "domain"):
        if not getattr(request, part):
            raise errors.missing(part)
    pages.check_limit(request.limit)
