"""Description entities: the documentation of a version (flyteidl/admin/description_entity.proto)."""

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
# Parity: the prefix in filters and the code in messages are those of the described entity.
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
    """Return the message of a row (upstream FromDescriptionEntityModel)."""
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
    """Store the documentation of a version in the transaction of its registration.

    Deviates: upstream refuses a version if the description of an earlier, failed registration exists.
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
    """Return the documentation of a version.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The version has no documentation.

    Source: upstream DescriptionEntityManager.GetDescriptionEntity.
    """
    id = request.id
    if request.HasField("id") and id.resource_type == identifier_pb2.UNSPECIFIED:
        id.resource_type = identifier_pb2.TASK
    if id.resource_type == identifier_pb2.UNSPECIFIED:
        raise errors.invalid("resource_type")
    check_parts(id, "project", "domain", "name", "version")
    # Deviates: upstream ignores the resource type and may return the documentation of a workflow for a task.
    row = await ctx.db.find(schema.DescriptionEntity, resource_type=id.resource_type, **version_key(id))
    if row is None:
        raise errors.NotFound("entry not found")
    return to_message(row)


async def list_description_entities(
    ctx: Context, request: description_entity_pb2.DescriptionEntityListRequest
) -> description_entity_pb2.DescriptionEntityList:
    """Return a page of the documentation of the versions of a name.

    Raises:
        errors.InvalidArgument: A part of the id is missing, or limit, filter, sort or token is invalid.

    Source: upstream DescriptionEntityManager.ListDescriptionEntity.
    """
    id = field_or_none(request, "id")
    check_parts(id, "project", "domain", "name")
    pages.check_limit(request.limit)
    listing = LISTINGS[request.resource_type if request.resource_type in _KINDS else identifier_pb2.UNSPECIFIED]
    where = {"resource_type": request.resource_type, "project": id.project, "domain": id.domain, "name": id.name}
    rows, token = await lists.page(
        ctx,
        listing,
        # Parity: upstream's message names the wrong RPC.
        rpc="ListWorkflows",
        where=where,
        # Deviates: filters use the columns of description entities. Upstream uses those of the described entity.
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
