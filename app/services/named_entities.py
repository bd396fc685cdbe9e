"""Names of tasks, workflows and launch plans, with a description and a state that belong to the name.

The name is there because versions are registered under it; its metadata is a row of its own, which may be absent
and then means no description and ACTIVE (flyteidl/admin/common.proto NamedEntity).
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
# Single-task executions register workflows and launch plans of such names.
HIDDEN = "not_like(name,.flytegen%)"

_METADATA = schema.table(schema.NamedEntityMetadata)
# What a list of names offers to sorts and filters: a join of a name and its metadata, not a table of the database.
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


def _key(resource_type: int, id: common_pb2.NamedEntityIdentifier) -> dict[str, Any]:
    return {"resource_type": resource_type, "project": id.project, "domain": id.domain, "name": id.name}


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
    """The description and state of a name.

    errors: INVALID_ARGUMENT for missing parts or a resource type without names; NOT_FOUND where nothing is registered
    source: upstream NamedEntityManager.GetNamedEntity
    """
    id = field_or_none(request, "id")
    _check(request.resource_type, id)
    await _check_registered(ctx, request.resource_type, id)
    row = await ctx.db.find(
        schema.NamedEntityMetadata, columns=("description", "state"), **_key(request.resource_type, id)
    )
    return _message(request.resource_type, id, row and row.description, row and row.state)


async def update_named_entity(
    ctx: Context, request: common_pb2.NamedEntityUpdateRequest
) -> common_pb2.NamedEntityUpdateResponse:
    """Describe, archive or bring back a name.

    shape:  an empty description leaves the stored one
    errors: INVALID_ARGUMENT for missing parts, a long description, a resource type without names; NOT_FOUND
    source: upstream NamedEntityManager.UpdateNamedEntity
    """
    id, metadata = field_or_none(request, "id"), field_or_none(request, "metadata")
    _check(request.resource_type, id)
    if metadata is None:
        raise errors.missing("metadata")
    if metadata.state != common_pb2.NAMED_ENTITY_ACTIVE and request.resource_type not in registered_names.MODELS:
        raise errors.InvalidArgument(f"Resource [{resource_name(request.resource_type)}] cannot have its state updated")
    await _check_registered(ctx, request.resource_type, id)
    if len(metadata.description) > DESCRIPTION_CHARACTERS_MAX:
        # Deviates: upstream passes the database's refusal on as UNKNOWN; SQLite would not refuse.
        raise errors.InvalidArgument(f"value too long for type character varying({DESCRIPTION_CHARACTERS_MAX})")
    key = _key(request.resource_type, id)
    row = {"description": metadata.description, "state": metadata.state, "updated_at": ctx.now}
    if await ctx.db.insert_if_absent(schema.NamedEntityMetadata, created_at=ctx.now, **key, **row) is None:
        # Parity: the state is written even where it is left out, the description only where it is not.
        changes = {name: value for name, value in row.items() if name != "description" or value}
        await ctx.db.update(schema.NamedEntityMetadata, key, **changes)
    return common_pb2.NamedEntityUpdateResponse()


async def list_named_entities(ctx: Context, request: common_pb2.NamedEntityListRequest) -> common_pb2.NamedEntityList:
    """One page of the names of a project and domain, with their metadata.

    shape:  request.project, domain, resource_type, limit 1..n; without filters, generated names stay hidden
    errors: INVALID_ARGUMENT for missing parts, limit 0, a filter, sort, token or a resource type without names
    source: upstream NamedEntityManager.ListNamedEntities
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
    """Whether only names with metadata pass: archived ones are few, and a name without metadata is ACTIVE."""
    return one.function == "eq" and one.field == "state" and one.values[0] != common_pb2.NAMED_ENTITY_ACTIVE


@lru_cache(maxsize=512)
def _statement(
    shapes: tuple[grammar.Shape, ...], sort: pages.Sort, after: bool, with_metadata: bool, limit: int, offset: bool
) -> Statement:
    """Deviates: filters come before the page is cut; upstream cuts first and loses what lies behind.

    Names and their metadata have the same key, in whose order either can be read; the database stops at the end of
    the page. with_metadata: a name without is no match, so the metadata leads.
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
