"""Errors for a version that is registered twice, and the list of versions, for tasks, workflows and launch plans.

Source: flyteadmin/pkg/errors (New…ExistsIdenticalStructureError, New…ExistsDifferentStructureError).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flyteidl.admin import common_pb2
from google.protobuf.message import Message

from app import errors
from app.query import lists, pages
from app.runtime.context import Context
from app.services.checks import check_parts, field_or_none
from app.wire.go.diff import different_structure


def exists_identical(kind: str, *details: Message) -> errors.AlreadyExists:
    """Return the error for a version that is already registered with the same content."""
    return errors.AlreadyExists(f"{kind} with identical structure already exists", details=details)


def exists_different(kind: str, name: str, before: Message, now: Message, *details: Message) -> errors.InvalidArgument:
    """Return the error for a version that is already registered with other content; the message has the differences."""
    return errors.InvalidArgument(different_structure(kind, name, before, now), details=details)


async def page_of_versions(
    ctx: Context,
    listing: lists.Listing,
    request: common_pb2.ResourceListRequest,
    *,
    rpc: str,
    columns: tuple[str, ...],
) -> tuple[Sequence[Any], str]:
    """Return a page of the versions of a project-domain, or of one name there, and the token of the next page.

    Args:
        ctx: The call.
        listing: The list.
        request: Names project and domain, and possibly a name.
        rpc: The name of the RPC, for messages.
        columns: The columns of the rows.

    Raises:
        errors.InvalidArgument: Project or domain is missing, or limit, filter, sort or token is invalid.

    Source: upstream ValidateResourceListRequest.
    """
    id = field_or_none(request, "id")
    check_parts(id, "project", "domain")
    pages.check_limit(request.limit)
    where = {"project": id.project, "domain": id.domain} | ({"name": id.name} if id.name else {})
    return await lists.page(
        ctx,
        listing,
        rpc=rpc,
        where=where,
        filters=request.filters,
        sort_by=field_or_none(request, "sort_by"),
        limit=request.limit,
        token=request.token,
        columns=columns,
    )
