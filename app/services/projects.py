"""Projects, and the domains that the settings define (admin/project.proto)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flyteidl.admin import project_pb2

from app import errors
from app.auth.roles import Need, Role
from app.database import base as db
from app.database import schema
from app.query import lists, pages, visible
from app.query.filters import Filter
from app.runtime.context import Context
from app.services.checks import check_labels, check_length, dns_label_problems, field_or_none

NAME_BYTES_MAX = 64
DESCRIPTION_BYTES_MAX = 300

LISTING = lists.Listing(
    schema.Project, "project", default_sort=pages.Sort("identifier", True), place=("identifier", None)
)
_NOT_ARCHIVED = (Filter("ne", "project", "state", (int(project_pb2.Project.ARCHIVED),)),)


def _not_found(id: str) -> errors.NotFound:
    return errors.NotFound(f"project [{id}] not found")


def _check(project: project_pb2.Project) -> None:
    """Raise INVALID_ARGUMENT for an invalid project (upstream ValidateProject)."""
    if not project.id:
        raise errors.missing("project_id")
    check_labels(project.labels.values)
    if problems := dns_label_problems(project.id):
        raise errors.InvalidArgument(f"invalid project id [{project.id}]: [{' '.join(problems)}]")
    check_length(project.name, "project_name", NAME_BYTES_MAX)
    check_length(project.description, "project_description", DESCRIPTION_BYTES_MAX)
    if project.domains:
        raise errors.InvalidArgument(
            "Domains are currently only set system wide. Please retry without domains included in your request."
        )


def _stored_labels(project: project_pb2.Project) -> bytes | None:
    return project.SerializeToString(deterministic=True) if project.HasField("labels") else None


def to_message(ctx: Context, row: Any) -> project_pb2.Project:
    """Return the message of a row, with the domains that the caller may see (upstream FromProjectModel)."""
    project = project_pb2.Project(
        id=row.identifier, name=row.name or "", description=row.description or "", state=row.state or 0
    )
    if row.labels:
        stored = project_pb2.Project.FromString(row.labels)
        if stored.HasField("labels"):
            project.labels.CopyFrom(stored.labels)
    project.domains.extend(
        domain
        for domain in domains(ctx)
        if ctx.access is None or ctx.access.allows(Need(Role.VIEW, row.identifier, domain.id))
    )
    return project


def domains(ctx: Context) -> list[project_pb2.Domain]:
    """Return the configured domains, in the order of the settings."""
    return [project_pb2.Domain(id=domain.id, name=domain.name) for domain in ctx.settings.domains]


async def register_project(
    ctx: Context, request: project_pb2.ProjectRegisterRequest
) -> project_pb2.ProjectRegisterResponse:
    """Register a project.

    Raises:
        errors.InvalidArgument: Kubernetes would refuse the id as a namespace or a label, a text is too long, or the
            request has domains.
        errors.AlreadyExists: The id is registered.

    Source: upstream ProjectManager.CreateProject.
    """
    project = field_or_none(request, "project")
    if project is None:
        raise errors.missing("project")
    if not project.name:
        raise errors.missing("project_name")
    _check(project)
    await ctx.db.insert(
        schema.Project,
        created_at=ctx.now,
        updated_at=ctx.now,
        identifier=project.id,
        name=project.name,
        description=project.description,
        labels=_stored_labels(project),
        state=project.state,
    )
    return project_pb2.ProjectRegisterResponse()


async def get_project(ctx: Context, request: project_pb2.ProjectGetRequest) -> project_pb2.Project:
    """Return a project in any state.

    Raises:
        errors.InvalidArgument: The id is missing.
        errors.NotFound: The project is not registered.

    Source: upstream ProjectManager.GetProject.
    """
    if not request.id:
        raise errors.missing("project_id")
    row = await ctx.db.find(schema.Project, identifier=request.id)
    if row is None:
        raise _not_found(request.id)
    return to_message(ctx, row)


async def update_project(ctx: Context, request: project_pb2.Project) -> project_pb2.ProjectUpdateResponse:
    """Change the state of a project, and its name, description and labels if the request has them.

    An empty name or description and absent labels change nothing. Empty labels delete the stored labels.

    Raises:
        errors.InvalidArgument: As register_project.
        errors.NotFound: The project is not registered.

    Source: upstream ProjectManager.UpdateProject.
    """
    if not request.id:
        # Deviates: without an id upstream reads any project first, with the same response.
        raise errors.missing("project_id")
    if await ctx.db.find(schema.Project, columns=("id",), identifier=request.id) is None:
        raise _not_found(request.id)
    _check(request)
    # Parity: a missing state is written as ACTIVE, so an update without a state activates an archived project.
    changes: dict[str, Any] = {"state": request.state, "updated_at": ctx.now}
    changes |= {name: getattr(request, name) for name in ("name", "description") if getattr(request, name)}
    if request.HasField("labels"):
        changes["labels"] = _stored_labels(request)
    if not await ctx.db.update(schema.Project, {"identifier": request.id}, **changes):
        raise _not_found(request.id)
    return project_pb2.ProjectUpdateResponse()


async def list_projects(ctx: Context, request: project_pb2.ProjectListRequest) -> project_pb2.Projects:
    """Return a page of the projects, sorted by id unless the request has a sort. A limit of 0 means no limit.

    Archived projects are listed only if the request has filters. Where roles are on, the list has the projects that the
    caller may see.

    Raises:
        errors.InvalidArgument: A filter, the sort or the token is invalid.

    Source: upstream ProjectManager.ListProjects.
    """
    rows, token = await lists.page(
        ctx,
        LISTING,
        rpc="ListProjects",
        where={},
        # Parity: with any filter archived projects are listed too (ProjectRepo.List).
        filters=request.filters or _NOT_ARCHIVED,
        sort_by=field_or_none(request, "sort_by"),
        limit=request.limit,
        token=request.token,
        visible=visible.of(ctx.access, with_domain=False),
    )
    return project_pb2.Projects(projects=[to_message(ctx, row) for row in rows], token=token)


async def get_domains(ctx: Context, request: project_pb2.GetDomainRequest) -> project_pb2.GetDomainsResponse:
    """Return the domains, which every project has.

    Source: upstream ProjectManager.GetDomains.
    """
    return project_pb2.GetDomainsResponse(domains=domains(ctx))


async def seed(unit: db.UnitOfWork, identifiers: Iterable[str]) -> tuple[str, ...]:
    """Insert the projects that are missing, and return their ids (upstream SeedProjects)."""
    inserted = []
    for identifier in identifiers:
        row = {"identifier": identifier, "name": identifier, "description": f"{identifier} description", "state": 0}
        if await unit.insert_if_absent(schema.Project, **row) is not None:
            inserted.append(identifier)
    return tuple(inserted)
