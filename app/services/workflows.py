"""Workflows. A version is compiled when it is registered and never changed (flyteidl/admin/workflow.proto).

The row has the columns that lists need. The compiled closure is an object, which is written before the row.
"""

from __future__ import annotations

from typing import Any

from flyteidl.admin import common_pb2, launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import compiler_pb2, identifier_pb2
from google.protobuf.message import DecodeError

from app import errors
from app.blobs import CLOSURE_LIMIT, BlobError, failed_call
from app.compiler import CompileErrors, LaunchPlanInterface, compile_workflow, requirements
from app.database import schema
from app.query import lists
from app.runtime.context import Context
from app.runtime.threads import in_thread_if_large
from app.services import description_entities, registered_names
from app.services.checks import check_identifier, check_project_and_domain, field_or_none, not_registered, version_key
from app.services.registered_versions import exists_different, exists_identical, page_of_versions
from app.settings.storage import CLOSURE_BYTES_MAX
from app.wire.go.digest import digest
from app.wire.go.quantity import Quantity
from app.wire.page import Page
from app.wire.text import text
from app.wire.times import put_time

LISTING = lists.Listing(schema.Workflow, "workflow")
_COLUMNS = ("project", "domain", "name", "version", "typed_interface", "short_description", "created_at")


async def create_workflow(
    ctx: Context, request: workflow_pb2.WorkflowCreateRequest
) -> workflow_pb2.WorkflowCreateResponse:
    """Register a version of a workflow.

    Raises:
        errors.InvalidArgument: A part is missing, the project is unknown or inactive, the domain is unknown, the
            workflow does not compile or is too large, or the id is registered with another workflow.
        errors.AlreadyExists: The id is registered with the same workflow. A registered id has an
            admin.CreateWorkflowFailureReason as detail of the error.

    Source: upstream WorkflowManager.CreateWorkflow.
    """
    id = field_or_none(request, "id")
    check_identifier(id, identifier_pb2.WORKFLOW)
    await check_project_and_domain(ctx, id.project, id.domain)
    await store(ctx, request)
    return workflow_pb2.WorkflowCreateResponse()


async def store(ctx: Context, request: workflow_pb2.WorkflowCreateRequest) -> None:
    """Compile and store a workflow with a checked id, for create_workflow and for the launch of a single task.

    Raises:
        errors.FlyteError: As create_workflow.
    """
    if not request.spec.HasField("template"):
        raise errors.missing("spec")
    id = request.id
    request.spec.template.id.CopyFrom(id)
    closure = workflow_pb2.WorkflowClosure(compiled_workflow=await _compiled(ctx, request))
    put_time(closure.created_at, ctx.now)
    _check_size(ctx, id, closure)
    workflow_digest = await in_thread_if_large(closure.ByteSize(), digest, closure.compiled_workflow)
    await _check_new(ctx, id, closure.compiled_workflow, workflow_digest)
    uri = await _write(ctx, id, closure, workflow_digest)
    interface = field_or_none(request.spec.template, "interface")
    stored = await ctx.db.insert_if_absent(
        schema.Workflow,
        created_at=ctx.now,
        updated_at=ctx.now,
        **version_key(id),
        typed_interface=None if interface is None else interface.SerializeToString(deterministic=True),
        remote_closure_identifier=uri,
        digest=workflow_digest,
        short_description=request.spec.description.short_description,
    )
    if stored is None:
        # A concurrent call has registered the version since _check_new. Its object has another name or equal content.
        await _check_new(ctx, id, closure.compiled_workflow, workflow_digest)
        raise errors.Aborted(f"workflow {id.name} was registered and removed meanwhile, try again")
    # Deviates: workflow and description are written in one transaction. Upstream uses two.
    await description_entities.store(ctx, id, field_or_none(request.spec, "description"))


async def _compiled(ctx: Context, request: workflow_pb2.WorkflowCreateRequest) -> compiler_pb2.CompiledWorkflowClosure:
    template, sub_workflows = request.spec.template, request.spec.sub_workflows
    try:
        needed = await in_thread_if_large(request.ByteSize(), requirements, template, sub_workflows)
    except CompileErrors as error:
        raise _not_compiled(request.id, f"failed to get workflow requirements with err {error}") from error
    try:
        tasks = [await _task(ctx, id) for id in needed.task_ids]
        launch_plans = [await launch_plan_interface(ctx, id) for id in needed.launch_plan_ids]
        return await in_thread_if_large(
            request.ByteSize(), compile_workflow, template, sub_workflows, tasks, launch_plans
        )
    except (CompileErrors, errors.NotFound) as error:
        raise _not_compiled(request.id, str(error)) from error


def _not_compiled(id: identifier_pb2.Identifier, reason: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"failed to compile workflow for [{text(id)}] with err: {reason}")


async def _task(ctx: Context, id: identifier_pb2.Identifier) -> compiler_pb2.CompiledTask:
    """Return a compiled task. Parity: the resource type is not checked here, but by the compiler."""
    if ctx.access is not None:
        ctx.access.require_entity(id.project, id.domain)
    row = await ctx.db.find(schema.Task, columns=("closure",), **version_key(id))
    if row is None:
        raise not_registered("TASK", id)
    return task_pb2.TaskClosure.FromString(row.closure).compiled_task


async def launch_plan_interface(ctx: Context, id: identifier_pb2.Identifier) -> LaunchPlanInterface:
    """Return the inputs and outputs of a launch plan, for a node that starts it.

    Raises:
        errors.NotFound: The launch plan is not registered.
        errors.PermissionDenied: The caller may not see its project and domain.
    """
    if ctx.access is not None:
        ctx.access.require_entity(id.project, id.domain)
    row = await ctx.db.find(schema.LaunchPlan, columns=("closure",), **version_key(id))
    if row is None:
        raise not_registered("LAUNCH_PLAN", id)
    closure = launch_plan_pb2.LaunchPlanClosure.FromString(row.closure)
    return LaunchPlanInterface(
        id, field_or_none(closure, "expected_inputs"), field_or_none(closure, "expected_outputs")
    )


def _check_size(ctx: Context, id: identifier_pb2.Identifier, closure: workflow_pb2.WorkflowClosure) -> None:
    """Raise INVALID_ARGUMENT for a workflow with too many bytes or nodes (upstream ValidateCompiledWorkflow)."""
    limits = ctx.settings.registration
    size_max = limits.workflow_size_limit
    bytes_max = min(Quantity.parse(size_max).rounded if size_max else CLOSURE_BYTES_MAX, CLOSURE_BYTES_MAX)
    if closure.ByteSize() > bytes_max:
        raise errors.InvalidArgument(f"Workflow closure size exceeds max limit [{size_max or CLOSURE_BYTES_MAX}]")
    # The compiler has added the start node and the end node.
    nodes = len(closure.compiled_workflow.primary.template.nodes) - 2
    if limits.max_workflow_nodes and nodes > limits.max_workflow_nodes:
        raise errors.InvalidArgument(
            f"number of nodes in workflow [{text(id)}] exceeds limit ({nodes} > {limits.max_workflow_nodes})"
        )


async def _check_new(
    ctx: Context,
    id: identifier_pb2.Identifier,
    compiled: compiler_pb2.CompiledWorkflowClosure,
    workflow_digest: bytes,
) -> None:
    """Raise ALREADY_EXISTS or INVALID_ARGUMENT if the version is registered, with the same or another workflow.

    Deviates: upstream compares with an empty closure, so that its message lists all of the new workflow.
    """
    row = await ctx.db.find(schema.Workflow, columns=("digest", "remote_closure_identifier"), **version_key(id))
    if row is None:
        return
    reason = workflow_pb2.CreateWorkflowFailureReason()
    if row.digest == workflow_digest:
        reason.exists_identical_structure.id.CopyFrom(id)
        raise exists_identical("workflow", reason)
    reason.exists_different_structure.id.CopyFrom(id)
    before = (await closure_of(ctx, row.remote_closure_identifier)).compiled_workflow
    raise await in_thread_if_large(compiled.ByteSize(), exists_different, "workflow", id.name, before, compiled, reason)


async def _write(
    ctx: Context, id: identifier_pb2.Identifier, closure: workflow_pb2.WorkflowClosure, workflow_digest: bytes
) -> str:
    """Write the closure to upstream's folder, under a name that contains a digest of the workflow; return the URI.

    Deviates: upstream's name is the version alone, so that the loser of a race overwrites the object of the winner.

    Raises:
        errors.Internal: The object store refuses the object.
        errors.Unavailable: The object store does not answer.
    """
    version = f"{id.version}.{workflow_digest.hex()[:32]}"
    uri = ctx.blobs.uri(*ctx.settings.flyteadmin.metadata_storage_prefix, id.project, id.domain, id.name, version)
    try:
        await ctx.blobs.write(uri, closure.SerializeToString(deterministic=True))
    except BlobError as error:
        raise failed_call(
            error,
            f"failed to write marshaled workflow [{text(id)}] to storage {uri} with err {error} "
            f"and base container: {ctx.blobs.base}",
        ) from error
    return uri


async def closure_of(
    ctx: Context, remote_closure_identifier: str, into: workflow_pb2.WorkflowClosure | None = None
) -> workflow_pb2.WorkflowClosure:
    """Return the closure of a workflow.

    Args:
        ctx: The call.
        remote_closure_identifier: The URI in the workflow's row.
        into: An empty message to parse the closure into; a new one by default.

    Raises:
        errors.Internal: The object cannot be read.

    Source: upstream FetchAndGetWorkflowClosure.
    """
    bytes_max = ctx.settings.storage.limits.closure_bytes_max
    try:
        raw = await ctx.blobs.read_immutable(remote_closure_identifier, bytes_max=bytes_max, setting=CLOSURE_LIMIT)
        closure = workflow_pb2.WorkflowClosure() if into is None else into
        closure.ParseFromString(raw)
        return closure
    except (BlobError, DecodeError) as error:
        raise failed_call(
            error, f"Unable to read WorkflowClosure from location {remote_closure_identifier} : {error}"
        ) from error


def _to_message(row: Any, workflow: workflow_pb2.Workflow) -> workflow_pb2.Workflow:
    """Set the fields of a workflow that come from its row; return the workflow."""
    workflow.short_description = row.short_description or ""
    id = workflow.id
    id.resource_type = identifier_pb2.WORKFLOW
    id.project, id.domain, id.name, id.version = row.project, row.domain, row.name, row.version
    put_time(workflow.closure.created_at, row.created_at)
    return workflow


async def get_workflow(ctx: Context, request: common_pb2.ObjectGetRequest) -> workflow_pb2.Workflow:
    """Return a version of a workflow with its compiled closure.

    Raises:
        errors.InvalidArgument: A part of the id is missing, or the resource type is another one.
        errors.NotFound: The version is not registered.
        errors.Internal: The closure cannot be read.

    Source: upstream WorkflowManager.GetWorkflow.
    """
    id = field_or_none(request, "id")
    if id is not None and id.resource_type == identifier_pb2.UNSPECIFIED:
        id.resource_type = identifier_pb2.WORKFLOW
    check_identifier(id, identifier_pb2.WORKFLOW)
    columns = ("project", "domain", "name", "version", "short_description", "created_at", "remote_closure_identifier")
    row = await ctx.db.find(schema.Workflow, columns=columns, **version_key(id))
    if row is None:
        raise not_registered("WORKFLOW", id)
    workflow = workflow_pb2.Workflow()
    await closure_of(ctx, row.remote_closure_identifier, workflow.closure)
    return _to_message(row, workflow)


async def list_workflows(ctx: Context, request: common_pb2.ResourceListRequest) -> Page[workflow_pb2.WorkflowList]:
    """Return a page of the versions of the workflows of a project-domain, or of one name there.

    The closures in the page have only the interface and created_at.

    Raises:
        errors.InvalidArgument: Project or domain is missing, or limit, filter, sort or token is invalid.

    Source: upstream WorkflowManager.ListWorkflows.
    """
    rows, token = await page_of_versions(ctx, LISTING, request, rpc="ListWorkflows", columns=_COLUMNS)
    return Page(workflow_pb2.WorkflowList(token=token), rows, _in_list)


def _in_list(row: Any) -> workflow_pb2.Workflow:
    workflow = _to_message(row, workflow_pb2.Workflow())
    interface = workflow.closure.compiled_workflow.primary.template.interface
    interface.SetInParent()
    interface.ParseFromString(row.typed_interface or b"")
    return workflow


async def list_workflow_ids(
    ctx: Context, request: common_pb2.NamedEntityIdentifierListRequest
) -> common_pb2.NamedEntityIdentifierList:
    """Return a page of the names of the workflows of a project-domain.

    Raises:
        errors.InvalidArgument: Project or domain is missing, or limit, sort or token is invalid.

    Source: upstream WorkflowManager.ListWorkflowIdentifiers.
    """
    registered_names.check_list(request)
    return await registered_names.page(ctx, identifier_pb2.WORKFLOW, request, rpc="ListWorkflowIdentifiers")
