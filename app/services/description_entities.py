"""What a task or workflow says about itself, stored with each version (flyteidl/admin/description_entity.proto)."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import common_pb2, description_entity_pb2
from flyteidl.core import identifier_pb2

from app import errors
from app.database import schema
from app.query import filters, lists, pages
from app.runtime.context import Context
from app.services.checks import check_parts, field_or_none, version_key

_TABLE = schema.table(schema.DescriptionEntity)
# Parity: filters name the entity that is described, with its prefix and its code in messages.
_KINDS = {
    identifier_pb2.TASK: "task",
    identifier_pb2.WORKFLOW: "workflow",
    identifier_pb2.LAUNCH_PLAN: "launch_plan",
}
LISTINGS = {
    kind: lists.Listing(schema.DescriptionEntity, entity)
    for kind, entity in (*_KINDS.items(), (identifier_pb2.UNSPECIFIED, "description_entity"))
}


def to_message(row: Any) -> description_entity_pb2.DescriptionEntity:
    """A row as the API shows it (upstream FromDescriptionEntityModel)."""
    id = identifier_pb2.Identifier(
        resource_type=row.resource_type, project=row.project, domain=row.domain, name=row.name, version=row.version
    )
    return description_entity_pb2.DescriptionEntity(
        id=id,
        short_description=row.short_description or "",
        long_description=description_entity_pb2.Description.FromString(row.long_description or b""),
        source_code=description_entity_pb2.SourceCode(link=row.link or ""),
    )


async def store(
    ctx: Context, id: identifier_pb2.Identifier, description: description_entity_pb2.DescriptionEntity | None
) -> None:
    """Store what a registration says about its version, in the registration's transaction.

    Deviates: upstream refuses a version whose description a half-failed registration has left behind.
    """
    if description is None:
        return
    long_description = field_or_none(description, "long_description")
    key = {"resource_type": id.resource_type, **version_key(id)}
    row = {
        "created_at": ctx.now,
        "updated_at": ctx.now,
        "short_description": description.short_description,
        "long_description": None
        if long_description is None
        else long_description.SerializeToString(deterministic=True),
        "link": description.source_code.link,
    }
    if await ctx.db.insert_if_absent(schema.DescriptionEntity, **key, **row) is None:
        await ctx.db.update(schema.DescriptionEntity, key, **row)


async def get_description_entity(
    ctx: Context, request: common_pb2.ObjectGetRequest
) -> description_entity_pb2.DescriptionEntity:
    """The documentation of a version.

    errors: INVALID_ARGUMENT for missing parts; NOT_FOUND
    source: upstream DescriptionEntityManager.GetDescriptionEntity
    """
    id = request.id
    if request.HasField("id") and id.resource_type == identifier_pb2.UNSPECIFIED:
        id.resource_type = identifier_pb2.TASK
    if id.resource_type == identifier_pb2.UNSPECIFIED:
        raise errors.invalid("resource_type")
    check_parts(id, "project", "domain", "name", "version")
    # Deviates: upstream leaves the resource type out and may answer with a workflow's row for a task.
    row = await ctx.db.find(schema.DescriptionEntity, resource_type=id.resource_type, **version_key(id))
    if row is None:
        raise errors.NotFound("entry not found")
    return to_message(row)


async def list_description_entities(
    ctx: Context, request: description_entity_pb2.DescriptionEntityListRequest
) -> description_entity_pb2.DescriptionEntityList:
    """One page of the documentation of all versions of a name.

    shape:  request.resource_type, id{project, domain, name}, limit 1..n
    errors: INVALID_ARGUMENT for missing parts, limit 0, a filter, sort or token
    source: upstream DescriptionEntityManager.ListDescriptionEntity
    """
    id = field_or_none(request, "id")
    check_parts(id, "project", "domain", "name")
    pages.check_limit(request.limit)
    listing = LISTINGS[request.resource_type if request.resource_type in _KINDS else identifier_pb2.UNSPECIFIED]
    where = {"resource_type": request.resource_type, "project": id.project, "domain": id.domain, "name": id.name}
    rows, token = await lists.page(
        ctx,
        listing,
        # Parity: upstream's message names the wrong call.
        rpc="ListWorkflows",
        where=where,
        # Deviates: the columns are those of the table that is listed, not of the described one.
        filters=filters.parse(
            request.filters,
            limits=ctx.settings.limits,
            own=listing.entity,
            joinable=(),
            columns=lambda _entity: _TABLE,
        ),
        sort_by=field_or_none(request, "sort_by"),
        limit=request.limit,
        token=request.token,
    )
    return description_entity_pb2.DescriptionEntityList(
        descriptionEntities=[to_message(row) for row in rows], token=token
    )
