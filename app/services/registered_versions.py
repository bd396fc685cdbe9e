"""What a client hears when it registers a version again, and the page of versions that all registries share.

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
from app.services.checks import check_parts, given
from app.wire.go.diff import different_structure


def exists_identical(kind: str, *details: Message) -> errors.AlreadyExists:
    """The error for a version that is registered already, and just so."""
    return errors.AlreadyExists(f"{kind} with identical structure already exists", details=details)


def exists_different(kind: str, name: str, before: Message, now: Message, *details: Message) -> errors.InvalidArgument:
    """The error for a version that is registered already as something else; it tells what differs."""
    return errors.InvalidArgument(different_structure(kind, name, before, now), details=details)


async def page_of_versions(
    ctx: Context,
    listing: lists.Listing,
    request: common_pb2.ResourceListRequest,
    *,
    rpc: str,
    columns: tuple[str, ...],
) -> tuple[Sequence[Any], str]:
    """One page of the versions of a project and domain, or of one name there; the next page's token.

    errors: INVALID_ARGUMENT for missing parts, limit 0, a filter, sort or token
    source: upstream ValidateResourceListRequest
    """
    id = given(request, "id")
    check_parts(id, "project", "domain")
    pages.check_limit(request.limit)
    where = {"project": id.project, "domain": id.domain} | ({"name": id.name} if id.name else {})
    return await lists.page(
        ctx,
        listing,
        rpc=rpc,
        where=where,
        filters=request.filters,
        sort_by=given(request, "sort_by"),
        limit=request.limit,
        token=request.token,
        columns=columns,
    )
