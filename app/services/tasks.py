"""Tasks. A version of a task is registered once and never changed (flyteidl/admin/task.proto)."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import common_pb2, task_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, tasks_pb2

from app import errors
from app.compiler import CompileErrors, compile_task
from app.database import schema
from app.query import lists
from app.runtime.context import Context
from app.runtime.threads import in_thread_if_large
from app.services import description_entities, registered_names, task_resources
from app.services.checks import (
    check_identifier,
    check_parts,
    check_project_and_domain,
    field_or_none,
    not_registered,
    version_key,
)
from app.services.registered_versions import exists_different, exists_identical, page_of_versions
from app.wire.go.digest import digest
from app.wire.page import Page
from app.wire.times import put_time

LISTING = lists.Listing(schema.Task, "task")
_COLUMNS = ("project", "domain", "name", "version", "closure", "short_description", "created_at")


def to_message(row: Any) -> task_pb2.Task:
    """Return the message of a row (upstream FromTaskModel)."""
    task = task_pb2.Task(short_description=row.short_description or "")
    task.id.resource_type = identifier_pb2.TASK
    task.id.project, task.id.domain, task.id.name, task.id.version = row.project, row.domain, row.name, row.version
    task.closure.ParseFromString(row.closure)
    put_time(task.closure.created_at, row.created_at)
    return task


async def find(ctx: Context, id: identifier_pb2.Identifier) -> task_pb2.Task:
    """Return a registered version. The resource type of the id is ignored. Raises NOT_FOUND."""
    row = await ctx.db.find(schema.Task, columns=_COLUMNS, **version_key(id))
    if row is None:
        raise not_registered("TASK", id)
    return to_message(row)


async def create_task(ctx: Context, request: task_pb2.TaskCreateRequest) -> task_pb2.TaskCreateResponse:
    """Register a version of a task.

    Raises:
        errors.InvalidArgument: A part is missing, the project is unknown or inactive, the domain is unknown, the
            template does not compile or requests too many resources, or the id is registered with another template.
        errors.AlreadyExists: The id is registered with the same template.

    Source: upstream TaskManager.CreateTask.
    """
    id = field_or_none(request, "id")
    check_identifier(id, identifier_pb2.TASK)
    await check_project_and_domain(ctx, id.project, id.domain)
    if not request.spec.HasField("template"):
        raise errors.missing("spec")
    template = request.spec.template
    await _check_template(ctx, id, template)
    template.id.CopyFrom(id)
    try:
        compiled = await in_thread_if_large(template.ByteSize(), compile_task, template)
    except CompileErrors as error:
        raise errors.InvalidArgument(f"task failed compilation with {error}") from error
    task_digest = await in_thread_if_large(compiled.ByteSize(), digest, compiled)
    await _check_new(ctx, id, compiled, task_digest)
    closure = task_pb2.TaskClosure(compiled_task=compiled)
    put_time(closure.created_at, ctx.now)
    stored = await ctx.db.insert_if_absent(
        schema.Task,
        created_at=ctx.now,
        updated_at=ctx.now,
        **version_key(id),
        closure=closure.SerializeToString(deterministic=True),
        digest=task_digest,
        type=template.type,
        short_description=request.spec.description.short_description,
    )
    if stored is None:
        # A concurrent call has registered the version since _check_new.
        await _check_new(ctx, id, compiled, task_digest)
        raise errors.Aborted(f"task {id.name} was registered and removed meanwhile, try again")
    # Deviates: task and description are written in one transaction. Upstream uses two.
    await description_entities.store(ctx, id, field_or_none(request.spec, "description"))
    return task_pb2.TaskCreateResponse()


async def _check_new(
    ctx: Context, id: identifier_pb2.Identifier, compiled: compiler_pb2.CompiledTask, task_digest: bytes
) -> None:
    """Raise ALREADY_EXISTS or INVALID_ARGUMENT if the version is registered, with the same or another template."""
    row = await ctx.db.find(schema.Task, columns=("digest", "closure"), **version_key(id))
    if row is None:
        return
    if row.digest == task_digest:
        raise exists_identical("task")
    before = task_pb2.TaskClosure.FromString(row.closure).compiled_task
    raise await in_thread_if_large(compiled.ByteSize(), exists_different, "task", id.name, before, compiled)


async def _check_template(ctx: Context, id: identifier_pb2.Identifier, template: tasks_pb2.TaskTemplate) -> None:
    """Raise INVALID_ARGUMENT for an invalid template (upstream validateTaskTemplate)."""
    if not template.type:
        raise errors.missing("type")
    _check_whitelist(ctx, id, template.type)
    if not template.HasField("metadata"):
        raise errors.missing("metadata")
    if template.metadata.HasField("runtime") and not template.metadata.runtime.version:
        raise errors.missing("runtime version")
    if not template.HasField("interface"):
        raise errors.missing("typed interface")
    own_id = field_or_none(template, "id")
    if template.HasField("container"):
        if not template.container.image:
            raise errors.missing("image")
        limits = (await task_resources.platform(ctx, id.project, id.domain)).limits
        resources = template.container.resources
        await in_thread_if_large(resources.ByteSize(), task_resources.check_container, own_id, resources, limits)
    elif template.HasField("k8s_pod"):
        if not template.k8s_pod.HasField("pod_spec"):
            raise errors.InvalidArgument(
                "invalid TaskSpecification, pod tasks should specify their target as a K8sPod with a defined pod spec"
            )
        limits = (await task_resources.platform(ctx, id.project, id.domain)).limits
        pod_spec = template.k8s_pod.pod_spec
        await in_thread_if_large(pod_spec.ByteSize(), task_resources.check_pod, own_id, pod_spec, limits)


def _check_whitelist(ctx: Context, id: identifier_pb2.Identifier, task_type: str) -> None:
    """Raise INVALID_ARGUMENT for a task type that the whitelist restricts to other projects and domains.

    A type that is not in task_type_whitelist, or has no scopes there, is allowed everywhere.
    """
    scopes = ctx.settings.task_type_whitelist.get(task_type, ())
    if scopes and not any(
        not scope.project or (scope.project == id.project and scope.domain in ("", id.domain)) for scope in scopes
    ):
        raise errors.InvalidArgument("task type must be whitelisted before use")


async def get_task(ctx: Context, request: common_pb2.ObjectGetRequest) -> task_pb2.Task:
    """Return a version of a task.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The version is not registered.

    Source: upstream TaskManager.GetTask.
    """
    id = field_or_none(request, "id")
    # Parity: the resource type is not checked.
    # Deviates: upstream does not refuse missing parts and returns any task that matches the others.
    check_parts(id, "project", "domain", "name", "version")
    return await find(ctx, id)


async def list_tasks(ctx: Context, request: common_pb2.ResourceListRequest) -> Page[task_pb2.TaskList]:
    """Return a page of the versions of the tasks of a project-domain, or of one name there.

    Raises:
        errors.InvalidArgument: Project or domain is missing, or limit, filter, sort or token is invalid.

    Source: upstream TaskManager.ListTasks.
    """
    rows, token = await page_of_versions(ctx, LISTING, request, rpc="ListTasks", columns=_COLUMNS)
    return Page(task_pb2.TaskList(token=token), rows, to_message)


async def list_task_ids(
    ctx: Context, request: common_pb2.NamedEntityIdentifierListRequest
) -> common_pb2.NamedEntityIdentifierList:
    """Return a page of the names of the tasks of a project-domain.

    Raises:
        errors.InvalidArgument: Project or domain is missing, or limit, sort or token is invalid.

    Source: upstream TaskManager.ListUniqueTaskIdentifiers.
    """
    registered_names.check_list(request)
    return await registered_names.page(ctx, identifier_pb2.TASK, request, rpc="ListUniqueTaskIdentifiers")
