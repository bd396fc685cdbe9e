"""Relaunch and recover an execution: launch a new execution with the stored spec and user inputs of an earlier one.

Proto: admin.ExecutionRelaunchRequest, admin.ExecutionRecoverRequest.
"""

from __future__ import annotations

from typing import Any

from flyteidl.admin import execution_pb2
from flyteidl.core import literals_pb2

from app.blobs import DOWNLOAD_LIMIT
from app.runtime.context import Context
from app.services.execution_ids import check_execution_id
from app.services.executions.launch import launch
from app.services.executions.reads import row_of

_COLUMNS = ("id", "spec", "user_inputs_uri")


async def relaunch_execution(
    ctx: Context, request: execution_pb2.ExecutionRelaunchRequest
) -> execution_pb2.ExecutionCreateResponse:
    """Launch an execution again, in any phase. The request's overwrite_cache replaces the stored one.

    Raises:
        errors.InvalidArgument: The id is incomplete. A missing id counts as a missing project.
        errors.NotFound: The execution does not exist.
        errors.FlyteError: As create_execution.

    Source: upstream ExecutionManager.RelaunchExecution.
    """
    create, source = await _create_request(ctx, request, execution_pb2.ExecutionMetadata.RELAUNCH)
    create.spec.overwrite_cache = request.overwrite_cache
    return await launch(ctx, create, source_execution=source)


async def recover_execution(
    ctx: Context, request: execution_pb2.ExecutionRecoverRequest
) -> execution_pb2.ExecutionCreateResponse:
    """Launch an execution again and reuse its nodes that succeeded.

    Of the request's metadata only parent_node_execution is used.

    Raises:
        errors.InvalidArgument: The id is incomplete. A missing id counts as a missing project.
        errors.NotFound: The execution does not exist.
        errors.FlyteError: As create_execution.

    Source: upstream ExecutionManager.RecoverExecution.
    """
    create, source = await _create_request(ctx, request, execution_pb2.ExecutionMetadata.RECOVERED)
    if request.HasField("metadata"):
        create.spec.metadata.ClearField("parent_node_execution")
        if request.metadata.HasField("parent_node_execution"):
            create.spec.metadata.parent_node_execution.CopyFrom(request.metadata.parent_node_execution)
    return await launch(ctx, create, source_execution=source)


async def _create_request(ctx: Context, request: Any, mode: int) -> tuple[execution_pb2.ExecutionCreateRequest, int]:
    """Return the request that launches the named execution again, and the row id of that execution."""
    check_execution_id(request.id)
    row = await row_of(ctx, request.id, columns=_COLUMNS)
    create = execution_pb2.ExecutionCreateRequest(
        project=request.id.project, domain=request.id.domain, name=request.name
    )
    create.spec.ParseFromString(row.spec)
    if ctx.auth is not None:
        # Deviates: upstream's relaunch runs as the first launcher, so whoever relaunches gets the rights of another.
        create.spec.security_context.run_as.execution_identity = ctx.principal
    create.spec.metadata.mode = mode
    create.spec.metadata.reference_execution.CopyFrom(request.id)
    if row.user_inputs_uri:
        limit = ctx.settings.storage.limits.max_download_bytes
        raw = await ctx.blobs.read(row.user_inputs_uri, bytes_max=limit, setting=DOWNLOAD_LIMIT)
        create.inputs.CopyFrom(literals_pb2.LiteralMap.FromString(raw))
        create.spec.ClearField("inputs")
    return create, row.id
