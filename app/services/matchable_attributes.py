"""Matchable attributes: settings of a project, of a project-domain, or of a workflow there.

Each kind of attribute has at most one row per level. For a workflow the most specific row applies; rows are not merged.
Proto: flyteidl/admin/{matchable_resource,project_attributes,project_domain_attributes,
workflow_attributes}.proto. Source: flyteadmin/pkg/manager/impl/resources, pkg/repositories/gormimpl/resource_repo.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from flyteidl.admin import (
    matchable_resource_pb2,
    project_attributes_pb2,
    project_domain_attributes_pb2,
    workflow_attributes_pb2,
)
from sqlalchemy import Select, and_, bindparam, literal, or_, select, true

from app import errors
from app.database import schema
from app.database.base import UnitOfWork
from app.database.read_memo import ReadMemo
from app.database.statements import Statement
from app.query import visible
from app.runtime.context import Context
from app.services import execution_config
from app.services.checks import check_project_and_domain, check_project_exists, check_project_for_update, field_or_none
from app.settings import Settings

# Above so many workflows with rows of their own, `read_ahead` leaves the reads to its callers.
READ_AHEAD_WORKFLOWS_MAX = 1000
PROJECT_PRIORITY, PROJECT_DOMAIN_PRIORITY, WORKFLOW_PRIORITY = 5, 10, 100

# The kind of attribute for each member of admin.MatchingAttributes.
# Parity: quality_of_service is missing and so cannot be written.
KINDS: dict[str, int] = {
    "task_resource_attributes": matchable_resource_pb2.TASK_RESOURCE,
    "cluster_resource_attributes": matchable_resource_pb2.CLUSTER_RESOURCE,
    "execution_queue_attributes": matchable_resource_pb2.EXECUTION_QUEUE,
    "execution_cluster_label": matchable_resource_pb2.EXECUTION_CLUSTER_LABEL,
    "plugin_overrides": matchable_resource_pb2.PLUGIN_OVERRIDE,
    "workflow_execution_config": matchable_resource_pb2.WORKFLOW_EXECUTION_CONFIG,
    "cluster_assignment": matchable_resource_pb2.CLUSTER_ASSIGNMENT,
}

_RESOURCES = schema.table(schema.Resource)
_LEVELS = ("project", "domain", "workflow", "launch_plan")


def _kind_name(kind: int) -> str:
    """Return the text of column resource_type: the name of a kind, or its number if it has no name."""
    value = matchable_resource_pb2.MatchableResource.DESCRIPTOR.values_by_number.get(kind)
    return str(kind) if value is None else str(value.name)


def _by_priority() -> Select[Any]:
    return select(_RESOURCES).order_by(
        _RESOURCES.c.priority.desc(), *(_RESOURCES.c[level].asc() for level in _LEVELS), _RESOURCES.c.id
    )


@lru_cache(maxsize=1)
def _most_specific() -> Statement:
    levels = (or_(_RESOURCES.c[level] == "", _RESOURCES.c[level] == bindparam(level)) for level in _LEVELS)
    return Statement(_by_priority().where(_RESOURCES.c.resource_type == bindparam("kind"), *levels).limit(1))


@lru_cache(maxsize=64)
def _of_kind(
    places: tuple[visible.Alternative, ...] | None, projects: tuple[visible.Alternative, ...] | None
) -> Statement:
    query = _by_priority().where(_RESOURCES.c.resource_type == bindparam("kind"))
    if places is not None:
        shown = visible.condition(places, _RESOURCES.c.project, _RESOURCES.c.domain)
        of_project = true() if projects is None else visible.condition(projects, _RESOURCES.c.project, None, "w")
        query = query.where(or_(shown, and_(_RESOURCES.c.domain == literal(""), of_project)))
    return Statement(query)


@lru_cache(maxsize=8)
def _of_kinds(number: int) -> Statement:
    kinds = or_(*(_RESOURCES.c.resource_type == bindparam(f"kind_{index}") for index in range(number)))
    levels = (or_(_RESOURCES.c[level] == "", _RESOURCES.c[level] == bindparam(level)) for level in _LEVELS)
    return Statement(_by_priority().where(kinds, *levels))


@lru_cache(maxsize=1)
def _workflows_of_kind() -> Statement:
    where = (_RESOURCES.c.resource_type == bindparam("kind"), _RESOURCES.c.workflow != "")
    return Statement(select(_RESOURCES.c.workflow).where(*where).distinct().limit(bindparam("most")))


async def read_ahead(db: UnitOfWork, memo: ReadMemo, kind: int, workflows: Iterable[tuple[str, str, str]]) -> None:
    """Put the rows that `find_row` returns for many workflows into a memo, with few statements.

    Args:
        db: The unit of work.
        memo: The memo.
        kind: An admin.MatchableResource.
        workflows: Project, domain and name of each workflow.
    """
    own = await db.all(_workflows_of_kind(), kind=_kind_name(kind), most=READ_AHEAD_WORKFLOWS_MAX)
    if len(own) == READ_AHEAD_WORKFLOWS_MAX:
        return
    names, found = {row.workflow for row in own}, {}
    for project, domain, workflow in workflows:
        key = {"kind": _kind_name(kind), "project": project, "domain": domain, "workflow": "", "launch_plan": ""}
        if workflow in names:
            continue
        # A workflow without a row of its own has that of its project-domain or its project.
        if (project, domain) not in found:
            found[project, domain] = await db.one(_most_specific(), **key)
        memo.put(memo.key(_most_specific(), {**key, "workflow": workflow}), found[project, domain])


async def find_row(
    ctx: Context, kind: int, project: str, domain: str, workflow: str = "", launch_plan: str = ""
) -> Any | None:
    """Return the most specific row of a kind for a workflow, None if there is none (upstream ResourceRepo.Get)."""
    return await ctx.db.one(
        _most_specific(),
        kind=_kind_name(kind),
        project=project,
        domain=domain,
        workflow=workflow,
        launch_plan=launch_plan,
    )


async def resolve(
    ctx: Context, kind: int, project: str, domain: str, workflow: str = "", launch_plan: str = ""
) -> matchable_resource_pb2.MatchingAttributes | None:
    """Return the attributes that apply to a workflow, None if no level has any.

    Args:
        ctx: The call.
        kind: An admin.MatchableResource.
        project: The project.
        domain: The domain, "" for the level of the project.
        workflow: The workflow's name, "" for the level of the project-domain.
        launch_plan: The launch plan's name, "" for the level of the workflow.
    """
    row = await find_row(ctx, kind, project, domain, workflow, launch_plan)
    return None if row is None else matchable_resource_pb2.MatchingAttributes.FromString(row.attributes or b"")


async def resolve_kinds(
    ctx: Context, kinds: Mapping[int, tuple[str, str]], project: str, domain: str
) -> dict[int, matchable_resource_pb2.MatchingAttributes]:
    """Return the attributes of several kinds by kind, read by one statement. A kind that no level has is left out.

    Args:
        ctx: The call.
        kinds: Names of the workflow and the launch plan for each kind, "" for the level above. All kinds have the same
            names, where they have one.
        project: The project.
        domain: The domain.
    """
    places = {
        "project": project,
        "domain": domain,
        "workflow": max(workflow for workflow, _ in kinds.values()),
        "launch_plan": max(plan for _, plan in kinds.values()),
    }
    names = {f"kind_{index}": _kind_name(kind) for index, kind in enumerate(kinds)}
    rows = await ctx.db.all(_of_kinds(len(kinds)), **names, **places)
    found: dict[int, matchable_resource_pb2.MatchingAttributes] = {}
    for kind, (workflow, plan) in kinds.items():
        name = _kind_name(kind)
        matching = (
            row
            for row in rows
            if row.resource_type == name and row.workflow in ("", workflow) and row.launch_plan in ("", plan)
        )
        first = next(matching, None)
        if first is not None:
            found[kind] = matchable_resource_pb2.MatchingAttributes.FromString(first.attributes or b"")
    return found


def _not_found(kind: int, project: str, domain: str = "", workflow: str = "") -> errors.NotFound:
    return errors.NotFound(
        f"Resource [{{Project:{project} Domain:{domain} Workflow:{workflow} LaunchPlan: "
        f"ResourceType:{_kind_name(kind)}}}] not found"
    )


# Writing: one row per level and kind.


def _check_attributes(attributes: Any, *parts: str) -> int:
    """Return the kind of the attributes in a request (upstream validateMatchingAttributes)."""
    if not attributes.HasField("matching_attributes"):
        raise errors.missing("matching_attributes")
    member = attributes.matching_attributes.WhichOneof("target")
    if member not in KINDS:
        raise errors.InvalidArgument(f"Unrecognized matching attributes type for request {'-'.join(parts)}")
    return KINDS[member]


async def _write(
    ctx: Context,
    kind: int,
    attributes: matchable_resource_pb2.MatchingAttributes,
    priority: int,
    project: str,
    domain: str = "",
    workflow: str = "",
) -> None:
    """Insert or replace the row of a level; plugin overrides are merged with the stored ones.

    Deviates: only the row of this level is read and written. Upstream merges the overrides of a project-domain into the
    row of a workflow, and refuses those of a project.
    """
    key = {
        "project": project,
        "domain": domain,
        "workflow": workflow,
        "launch_plan": "",
        "resource_type": _kind_name(kind),
    }
    values = {"attributes": _stored(attributes), "priority": priority, "updated_at": ctx.now}
    if await ctx.db.insert_if_absent(schema.Resource, created_at=ctx.now, **key, **values) is not None:
        return
    if kind == matchable_resource_pb2.PLUGIN_OVERRIDE:
        row = await ctx.db.find(schema.Resource, columns=("attributes",), for_update=True, **key)
        before = b"" if row is None else row.attributes or b""
        values["attributes"] = _stored(
            _merged(matchable_resource_pb2.MatchingAttributes.FromString(before), attributes)
        )
    await ctx.db.update(schema.Resource, key, **values)


def _stored(attributes: matchable_resource_pb2.MatchingAttributes) -> bytes:
    return bytes(attributes.SerializeToString(deterministic=True))


def _merged(
    before: matchable_resource_pb2.MatchingAttributes, now: matchable_resource_pb2.MatchingAttributes
) -> matchable_resource_pb2.MatchingAttributes:
    """Return the plugin overrides of both; for a task type that both have, the new override is used.

    Deviates: the overrides are sorted by task type. Upstream's order is random.
    """
    overrides = {
        override.task_type: override
        for attributes in (before, now)
        for override in attributes.plugin_overrides.overrides
    }
    merged = matchable_resource_pb2.MatchingAttributes()
    merged.plugin_overrides.overrides.extend(override for _, override in sorted(overrides.items()))
    merged.plugin_overrides.SetInParent()
    return merged


async def _delete(ctx: Context, kind: int, project: str, domain: str = "", workflow: str = "") -> None:
    """Delete the row of a level. Deviates: upstream deletes the more specific rows too."""
    await ctx.db.delete(
        schema.Resource,
        project=project,
        domain=domain,
        workflow=workflow,
        launch_plan="",
        resource_type=_kind_name(kind),
    )


# Project level.


async def update_project_attributes(
    ctx: Context, request: project_attributes_pb2.ProjectAttributesUpdateRequest
) -> project_attributes_pb2.ProjectAttributesUpdateResponse:
    """Set one kind of attributes of a project.

    Raises:
        errors.InvalidArgument: A part is missing, or the project is unknown or inactive.

    Source: upstream ResourceManager.UpdateProjectAttributes.
    """
    attributes = field_or_none(request, "attributes")
    if attributes is None:
        raise errors.missing("attributes")
    await check_project_for_update(ctx, attributes.project)
    kind = _check_attributes(attributes, attributes.project)
    await _write(ctx, kind, attributes.matching_attributes, PROJECT_PRIORITY, attributes.project)
    return project_attributes_pb2.ProjectAttributesUpdateResponse()


async def get_project_attributes(
    ctx: Context, request: project_attributes_pb2.ProjectAttributesGetRequest
) -> project_attributes_pb2.ProjectAttributesGetResponse:
    """Return the attributes of a project. WORKFLOW_EXECUTION_CONFIG is completed with the configured values.

    Raises:
        errors.InvalidArgument: The project is unknown.
        errors.NotFound: The project has no attributes of this kind.

    Source: upstream ResourceManager.GetProjectAttributes.
    """
    await check_project_exists(ctx, request.project)
    key = {"project": request.project, "domain": "", "workflow": "", "launch_plan": ""}
    kind = _kind_name(request.resource_type)
    row = await ctx.db.find(schema.Resource, columns=("attributes",), resource_type=kind, **key)
    matching = matchable_resource_pb2.MatchingAttributes()
    if row is not None:
        matching.ParseFromString(row.attributes or b"")
    elif request.resource_type != matchable_resource_pb2.WORKFLOW_EXECUTION_CONFIG:
        raise _not_found(request.resource_type, request.project)
    if row is None or matching.HasField("workflow_execution_config"):
        _add_configured_values(matching.workflow_execution_config, ctx.settings)
    return project_attributes_pb2.ProjectAttributesGetResponse(
        attributes=project_attributes_pb2.ProjectAttributes(project=request.project, matching_attributes=matching)
    )


def _add_configured_values(config: matchable_resource_pb2.WorkflowExecutionConfig, settings: Settings) -> None:
    """Complete a stored configuration with the values of section flyteadmin.

    Parity: environment variables are not copied (GetAsWorkflowExecutionConfig, MergeIntoExecConfig).
    """
    source = execution_config.from_settings(settings)
    source.ClearField("envs")
    config.SetInParent()
    execution_config.merge(config, source)


async def delete_project_attributes(
    ctx: Context, request: project_attributes_pb2.ProjectAttributesDeleteRequest
) -> project_attributes_pb2.ProjectAttributesDeleteResponse:
    """Delete one kind of attributes of a project. The call succeeds if there are none.

    Raises:
        errors.InvalidArgument: The project is unknown or inactive.

    Source: upstream ResourceManager.DeleteProjectAttributes.
    """
    await check_project_for_update(ctx, request.project)
    await _delete(ctx, request.resource_type, request.project)
    return project_attributes_pb2.ProjectAttributesDeleteResponse()


# Project and domain level.


async def update_project_domain_attributes(
    ctx: Context, request: project_domain_attributes_pb2.ProjectDomainAttributesUpdateRequest
) -> project_domain_attributes_pb2.ProjectDomainAttributesUpdateResponse:
    """Set one kind of attributes of a project-domain.

    Raises:
        errors.InvalidArgument: A part is missing, the project is unknown or inactive, or the domain is unknown.

    Source: upstream ResourceManager.UpdateProjectDomainAttributes.
    """
    attributes = field_or_none(request, "attributes")
    if attributes is None:
        raise errors.missing("attributes")
    await check_project_and_domain(ctx, attributes.project, attributes.domain)
    kind = _check_attributes(attributes, attributes.project, attributes.domain)
    matching, priority = attributes.matching_attributes, PROJECT_DOMAIN_PRIORITY
    await _write(ctx, kind, matching, priority, attributes.project, attributes.domain)
    return project_domain_attributes_pb2.ProjectDomainAttributesUpdateResponse()


async def get_project_domain_attributes(
    ctx: Context, request: project_domain_attributes_pb2.ProjectDomainAttributesGetRequest
) -> project_domain_attributes_pb2.ProjectDomainAttributesGetResponse:
    """Return the attributes that apply to a project-domain; the response names the level that has them.

    Raises:
        errors.InvalidArgument: The project is unknown or inactive, or the domain is unknown.
        errors.NotFound: No level has attributes of this kind.

    Source: upstream ResourceManager.GetProjectDomainAttributes.
    """
    await check_project_and_domain(ctx, request.project, request.domain)
    row = await find_row(ctx, request.resource_type, request.project, request.domain)
    if row is None:
        raise _not_found(request.resource_type, request.project, request.domain)
    attributes = project_domain_attributes_pb2.ProjectDomainAttributes(project=row.project, domain=row.domain)
    attributes.matching_attributes.ParseFromString(row.attributes or b"")
    return project_domain_attributes_pb2.ProjectDomainAttributesGetResponse(attributes=attributes)


async def delete_project_domain_attributes(
    ctx: Context, request: project_domain_attributes_pb2.ProjectDomainAttributesDeleteRequest
) -> project_domain_attributes_pb2.ProjectDomainAttributesDeleteResponse:
    """Delete one kind of attributes of a project-domain. The call succeeds if there are none.

    Raises:
        errors.InvalidArgument: The project is unknown or inactive, or the domain is unknown.

    Source: upstream ResourceManager.DeleteProjectDomainAttributes.
    """
    await check_project_and_domain(ctx, request.project, request.domain)
    await _delete(ctx, request.resource_type, request.project, request.domain)
    return project_domain_attributes_pb2.ProjectDomainAttributesDeleteResponse()


# Workflow level.


async def update_workflow_attributes(
    ctx: Context, request: workflow_attributes_pb2.WorkflowAttributesUpdateRequest
) -> workflow_attributes_pb2.WorkflowAttributesUpdateResponse:
    """Set one kind of attributes of a workflow, which need not be registered.

    Raises:
        errors.InvalidArgument: A part is missing, the project is unknown or inactive, or the domain is unknown.

    Source: upstream ResourceManager.UpdateWorkflowAttributes.
    """
    attributes = field_or_none(request, "attributes")
    if attributes is None:
        raise errors.missing("attributes")
    parts = (attributes.project, attributes.domain, attributes.workflow)
    await check_project_and_domain(ctx, attributes.project, attributes.domain)
    if not attributes.workflow:
        raise errors.missing("name")
    kind = _check_attributes(attributes, *parts)
    await _write(ctx, kind, attributes.matching_attributes, WORKFLOW_PRIORITY, *parts)
    return workflow_attributes_pb2.WorkflowAttributesUpdateResponse()


async def get_workflow_attributes(
    ctx: Context, request: workflow_attributes_pb2.WorkflowAttributesGetRequest
) -> workflow_attributes_pb2.WorkflowAttributesGetResponse:
    """Return the attributes that apply to a workflow; the response names the level that has them.

    Raises:
        errors.InvalidArgument: A part is missing, the project is unknown or inactive, or the domain is unknown.
        errors.NotFound: No level has attributes of this kind.

    Source: upstream ResourceManager.GetWorkflowAttributes.
    """
    await check_project_and_domain(ctx, request.project, request.domain)
    if not request.workflow:
        raise errors.missing("name")
    row = await find_row(ctx, request.resource_type, request.project, request.domain, request.workflow)
    if row is None:
        raise _not_found(request.resource_type, request.project, request.domain, request.workflow)
    attributes = workflow_attributes_pb2.WorkflowAttributes(
        project=row.project, domain=row.domain, workflow=row.workflow
    )
    attributes.matching_attributes.ParseFromString(row.attributes or b"")
    return workflow_attributes_pb2.WorkflowAttributesGetResponse(attributes=attributes)


async def delete_workflow_attributes(
    ctx: Context, request: workflow_attributes_pb2.WorkflowAttributesDeleteRequest
) -> workflow_attributes_pb2.WorkflowAttributesDeleteResponse:
    """Delete one kind of attributes of a workflow. The call succeeds if there are none.

    Raises:
        errors.InvalidArgument: A part is missing, the project is unknown or inactive, or the domain is unknown.

    Source: upstream ResourceManager.DeleteWorkflowAttributes.
    """
    await check_project_and_domain(ctx, request.project, request.domain)
    if not request.workflow:
        raise errors.missing("name")
    await _delete(ctx, request.resource_type, request.project, request.domain, request.workflow)
    return workflow_attributes_pb2.WorkflowAttributesDeleteResponse()


# All levels.


async def list_matchable_attributes(
    ctx: Context, request: matchable_resource_pb2.ListMatchableAttributesRequest
) -> matchable_resource_pb2.ListMatchableAttributesResponse:
    """Return all rows of a kind, of all projects that the caller may see, the most specific ones first.

    The row of a whole project can be seen where one of its domains can.

    Raises:
        errors.InvalidArgument: The kind is unknown.

    Source: upstream ResourceManager.ListAll.
    """
    if request.resource_type not in matchable_resource_pb2.MatchableResource.values():
        raise errors.invalid("resource_type")
    response = matchable_resource_pb2.ListMatchableAttributesResponse()
    places = visible.of(ctx.access, with_domain=True)
    projects = visible.of(ctx.access, with_domain=False, prefix="w")
    statement = _of_kind(places and places.shape, projects and projects.shape)
    values = {**(places.values if places else {}), **(projects.values if projects else {})}
    for row in await ctx.db.all(statement, kind=_kind_name(request.resource_type), **values):
        found = response.configurations.add(
            project=row.project, domain=row.domain, workflow=row.workflow, launch_plan=row.launch_plan
        )
        found.attributes.ParseFromString(row.attributes or b"")
    return response
