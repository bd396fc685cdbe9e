"""Named entities: the names of tasks, workflows and launch plans, each with a description and a state.

A name exists while versions are registered under it. Its metadata is a separate row. A name without that row has no
description and is ACTIVE (flyteidl/admin/common.proto NamedEntity).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from flyteidl.admin import common_pb2
from flyteidl.core import identifier_pb2
from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    func,
    select,
)

from app import errors
from app.database import schema
from app.database.statements import Statement
from app.query import filters as grammar
from app.query import pages
from app.query.filter_sql import column_condition, parameter_names, parameter_values
from app.runtime.context import Context
from app.services import registered_names
from app.services.checks import check_parts, field_or_none, resource_name

DESCRIPTION_CHARACTERS_MAX = 300
# The default filter: it hides the workflows and launch plans that are generated for single tasks.
HIDDEN = "not_like(name,.flytegen%)"

_METADATA = schema.table(schema.NamedEntityMetadata)
# The columns for sorts and filters of lists: a name joined with its metadata. The database has no such table.
_ENTITY = Table(
    "entities",
    MetaData(),
    *(Column(name, _METADATA.c[name].type, nullable=False) for name in ("resource_type", "project", "domain", "name")),
    Column("description", Text),
    Column("state", Integer),
)


def _check(resource_type: int, id: common_pb2.NamedEntityIdentifier | None) -> None:
    """Upstream ValidateResourceType and ValidateNamedEntityIdentifier."""
    if resource_type == identifier_pb2.UNSPECIFIED:
        raise errors.invalid("resource_type")
    check_parts(id, "project", "domain", "name")


async def _check_registered(ctx: Context, resource_type: int, id: common_pb2.NamedEntityIdentifier) -> None:
    if resource_type not in registered_names.MODELS:
        raise errors.InvalidArgument(
            f"Cannot get NamedEntityMetadata for resource type: {resource_name(resource_type)}"
        )
    if not await registered_names.is_registered(ctx, resource_type, id):
        raise errors.NotFound("entry not found")


def _message(
    resource_type: int, id: common_pb2.NamedEntityIdentifier, description: str | None, state: int | None
) -> common_pb2.NamedEntity:
    return common_pb2.NamedEntity(
        resource_type=resource_type,
        id=common_pb2.NamedEntityIdentifier(project=id.project, domain=id.domain, name=id.name),
        metadata=common_pb2.NamedEntityMetadata(description=description or "", state=state or 0),
    )


async def get_named_entity(ctx: Context, request: common_pb2.NamedEntityGetRequest) -> common_pb2.NamedEntity:
    """Return the description and state of a name.

    Raises:
        errors.InvalidArgument: A part is missing, or the resource type has no names.
        errors.NotFound: No version is registered under the name.

    Source: upstream NamedEntityManager.GetNamedEntity.
    """
    id = field_or_none(request, "id")
    _check(request.resource_type, id)
    await _check_registered(ctx, request.resource_type, id)
    row = await ctx.db.find(
        schema.NamedEntityMetadata,
        columns=("description", "state"),
        **registered_names.name_key(request.resource_type, id),
    )
    return _message(request.resource_type, id, row and row.description, row and row.state)


async def update_named_entity(
    ctx: Context, request: common_pb2.NamedEntityUpdateRequest
) -> common_pb2.NamedEntityUpdateResponse:
    """Set the state of a name, and its description unless the request's is empty.

    Raises:
        errors.InvalidArgument: A part is missing, the description is too long, or the resource type has no names.
        errors.NotFound: No version is registered under the name.

    Source: upstream NamedEntityManager.UpdateNamedEntity.
    """
    id, metadata = field_or_none(request, "id"), field_or_none(request, "metadata")
    _check(request.resource_type, id)
    if metadata is None:
        raise errors.missing("metadata")
    if metadata.state != common_pb2.NAMED_ENTITY_ACTIVE and request.resource_type not in registered_names.MODELS:
        raise errors.InvalidArgument(f"Resource [{resource_name(request.resource_type)}] cannot have its state updated")
    await _check_registered(ctx, request.resource_type, id)
    if len(metadata.description) > DESCRIPTION_CHARACTERS_MAX:
        # Deviates: upstream answers UNKNOWN with PostgreSQL's error. SQLite would store the text.
        raise errors.InvalidArgument(f"value too long for type character varying({DESCRIPTION_CHARACTERS_MAX})")
    key = registered_names.name_key(request.resource_type, id)
    row = {"description": metadata.description, "state": metadata.state, "updated_at": ctx.now}
    if await ctx.db.insert_if_absent(schema.NamedEntityMetadata, created_at=ctx.now, **key, **row) is None:
        # Parity: a missing state is written as ACTIVE, a missing description is not written.
        changes = {name: value for name, value in row.items() if name != "description" or value}
        await ctx.db.update(schema.NamedEntityMetadata, key, **changes)
    return common_pb2.NamedEntityUpdateResponse()


async def list_named_entities(ctx: Context, request: common_pb2.NamedEntityListRequest) -> common_pb2.NamedEntityList:
    """Return a page of the names of a project-domain with their metadata. Without filters generated names are hidden.

    Raises:
        errors.InvalidArgument: A part is missing, limit, filter, sort or token is invalid, or the resource type has no
            names.

    Source: upstream NamedEntityManager.ListNamedEntities.
    """
    for part in ("project", "domain"):
        if not getattr(request, part):
            raise errors.missing(part)
    if request.resource_type == identifier_pb2.UNSPECIFIED:
        raise errors.invalid("resource_type")
    pages.check_limit(request.limit)
    parsed = grammar.parse(
        request.filters or HIDDEN,
        limits=ctx.settings.limits,
        own="entities",
        joinable=("named_entity_metadata",),
        columns=_columns,
    )
    sort = registered_names.read_sort(field_or_none(request, "sort_by"), _ENTITY)
    start = registered_names.read_start(request.token, sort, "ListNamedEntities")
    if request.resource_type not in registered_names.MODELS:
        raise errors.InvalidArgument(
            f"Cannot list entity names for resource type: {resource_name(request.resource_type)}"
        )
    limit = pages.effective_limit(ctx, request.limit)
    shapes, with_metadata = tuple(one.shape for one in parsed), any(map(_needs_metadata, parsed))
    rows = await ctx.db.all(
        _statement(shapes, sort, start.after is not None, with_metadata, limit, start.offset > 0),
        resource_type=request.resource_type,
        project=request.project,
        domain=request.domain,
        **start.parameters,
        **parameter_values(parsed),
    )
    found = []
    for row in rows:
        id = common_pb2.NamedEntityIdentifier(project=request.project, domain=request.domain, name=row.name)
        found.append(_message(request.resource_type, id, row.description, row.state))
    return common_pb2.NamedEntityList(entities=found, token=registered_names.next_token(ctx, start, rows, sort, limit))


def _columns(entity: str) -> Table:
    return _ENTITY if entity == "entities" else _METADATA


def _needs_metadata(one: grammar.Filter) -> bool:
    """Return whether a filter can match only names that have metadata: a name without metadata is ACTIVE."""
    return one.function == "eq" and one.field == "state" and one.values[0] != common_pb2.NAMED_ENTITY_ACTIVE


@lru_cache(maxsize=512)
def _statement(
    shapes: tuple[grammar.FilterShape, ...],
    sort: pages.Sort,
    after: bool,
    with_metadata: bool,
    limit: int,
    offset: bool,
) -> Statement:
    """Return the statement of a page of names with their metadata.

    Names and metadata have the same key. The database can read either table in the order of the key, and stop at the
    end of the page. If only names with metadata can match (with_metadata), the table of metadata is read first, because
    it has few rows.
    Deviates: upstream cuts the page before it applies the filters, and so omits matches.
    """
    key = ("resource_type", "project", "domain", "name")
    both = and_(*(registered_names.TABLE.c[part] == _METADATA.c[part] for part in key))
    lead, found = registered_names.TABLE, registered_names.TABLE.outerjoin(_METADATA, both)
    if with_metadata:
        lead, found = _METADATA, _METADATA.join(registered_names.TABLE, both)
    query = select(registered_names.TABLE.c.name, _METADATA.c.description, _METADATA.c.state).select_from(found)
    query = query.where(*registered_names.having(lead, *key[:3])).order_by(registered_names.ordered(lead.c.name, sort))
    if after:
        query = query.where(registered_names.behind(lead.c.name, sort))
    for i, (function, entity, field, size, _) in enumerate(shapes):
        column: ColumnElement[Any] = (registered_names.TABLE if entity == "entities" and field in key else _METADATA).c[
            field
        ]
        if field == "state":
            # A name without metadata is ACTIVE.
            column = func.coalesce(column, 0, type_=Integer())
        query = query.where(column_condition(column, function, parameter_names(i, size)))
    return Statement(pages.apply_limit(query, limit, offset=offset))
