"""Relaunch and recover: a new execution from the stored spec and the user's inputs of an earlier one.

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
    """Run again what an execution ran, whatever became of it.

    shape:  request{id, name or "", overwrite_cache: replaces the stored one}
    errors: INVALID_ARGUMENT `missing project` also without an id; NOT_FOUND; those of create_execution
    source: upstream ExecutionManager.RelaunchExecution
    """
    check_execution_id(request.id)
    row = await row_of(ctx, request.id, columns=_COLUMNS)
    create = await _again(ctx, request, row, execution_pb2.ExecutionMetadata.RELAUNCH)
    create.spec.overwrite_cache = request.overwrite_cache
    return await launch(ctx, create, source_execution=row.id)


async def recover_execution(
    ctx: Context, request: execution_pb2.ExecutionRecoverRequest
) -> execution_pb2.ExecutionCreateResponse:
    """Run again what an execution ran; nodes that succeeded there are taken over.

    shape:  request{id, name or "", metadata: only its parent_node_execution counts}
    errors: INVALID_ARGUMENT `missing project` also without an id; NOT_FOUND; those of create_execution
    source: upstream ExecutionManager.RecoverExecution
    """
    check_execution_id(request.id)
    row = await row_of(ctx, request.id, columns=_COLUMNS)
    create = await _again(ctx, request, row, execution_pb2.ExecutionMetadata.RECOVERED)
    if request.HasField("metadata"):
        create.spec.metadata.ClearField("parent_node_execution")
        if request.metadata.HasField("parent_node_execution"):
            create.spec.metadata.parent_node_execution.CopyFrom(request.metadata.parent_node_execution)
    return await launch(ctx, create, source_execution=row.id)


async def _again(ctx: Context, request: Any, row: Any, mode: int) -> execution_pb2.ExecutionCreateRequest:
    create = execution_pb2.ExecutionCreateRequest(
        project=request.id.project, domain=request.id.domain, name=request.name
    )
    create.spec.ParseFromString(row.spec)
    create.spec.metadata.mode = mode
    create.spec.metadata.reference_execution.CopyFrom(request.id)
    if row.user_inputs_uri:
        limit = ctx.settings.storage.limits.max_download_bytes
        raw = await ctx.blobs.read(row.user_inputs_uri, bytes_max=limit, setting=DOWNLOAD_LIMIT)
        create.inputs.CopyFrom(literals_pb2.LiteralMap.FromString(raw))
        create.spec.ClearField("inputs")
    return create
