"""Projects, which separate what teams register, and domains, which the configuration names (admin/project.proto)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flyteidl.admin import project_pb2

from app import errors
from app.database import base as db
from app.database import schema
from app.query import lists, pages
from app.query.filters import Filter
from app.runtime.context import Context
from app.services.checks import check_labels, check_length, dns_label_problems, field_or_none

NAME_BYTES_MAX = 64
DESCRIPTION_BYTES_MAX = 300

LISTING = lists.Listing(schema.Project, "project", default_sort=pages.Sort("identifier", True))
_NOT_ARCHIVED = (Filter("ne", "project", "state", (int(project_pb2.Project.ARCHIVED),)),)


def _not_found(id: str) -> errors.NotFound:
    return errors.NotFound(f"project [{id}] not found")


def _check(project: project_pb2.Project) -> None:
    """Upstream ValidateProject."""
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
    """A row as the API shows it (upstream FromProjectModel)."""
    project = project_pb2.Project(
        id=row.identifier, name=row.name or "", description=row.description or "", state=row.state or 0
    )
    if row.labels:
        stored = project_pb2.Project.FromString(row.labels)
        if stored.HasField("labels"):
            project.labels.CopyFrom(stored.labels)
    project.domains.extend(domains(ctx))
    return project


def domains(ctx: Context) -> list[project_pb2.Domain]:
    """The domains of the configuration, in its order."""
    return [project_pb2.Domain(id=domain.id, name=domain.name) for domain in ctx.settings.domains]


async def register_project(
    ctx: Context, request: project_pb2.ProjectRegisterRequest
) -> project_pb2.ProjectRegisterResponse:
    """A new project.

    shape:  request.project{id, name[, description, labels, state]} -> empty
    errors: INVALID_ARGUMENT for what Kubernetes would not take as a namespace or label, texts that are too long,
            domains; ALREADY_EXISTS
    source: upstream ProjectManager.CreateProject
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
    """A project, whatever its state.

    errors: INVALID_ARGUMENT without id; NOT_FOUND
    source: upstream ProjectManager.GetProject
    """
    if not request.id:
        raise errors.missing("project_id")
    row = await ctx.db.find(schema.Project, identifier=request.id)
    if row is None:
        raise _not_found(request.id)
    return to_message(ctx, row)


async def update_project(ctx: Context, request: project_pb2.Project) -> project_pb2.ProjectUpdateResponse:
    """Change name, description and labels where they are given, and the state.

    shape:  an empty name or description and absent labels stay as they are; empty labels clear them
    errors: INVALID_ARGUMENT as in register_project; NOT_FOUND
    source: upstream ProjectManager.UpdateProject
    """
    if not request.id:
        # Deviates: without an id upstream first looks up any project; the answer is the same.
        raise errors.missing("project_id")
    if await ctx.db.find(schema.Project, columns=("id",), identifier=request.id) is None:
        raise _not_found(request.id)
    _check(request)
    # Parity: the state is written even where it is left out, so that an update activates an archived project.
    changes: dict[str, Any] = {"state": request.state, "updated_at": ctx.now}
    changes |= {name: getattr(request, name) for name in ("name", "description") if getattr(request, name)}
    if request.HasField("labels"):
        changes["labels"] = _stored_labels(request)
    if not await ctx.db.update(schema.Project, {"identifier": request.id}, **changes):
        raise _not_found(request.id)
    return project_pb2.ProjectUpdateResponse()


async def list_projects(ctx: Context, request: project_pb2.ProjectListRequest) -> project_pb2.Projects:
    """One page of the projects, by identifier unless a sort is asked for.

    shape:  request.limit 0 for all; archived projects appear only where a filter is given
    errors: INVALID_ARGUMENT for a filter, sort or token
    source: upstream ProjectManager.ListProjects
    """
    rows, token = await lists.page(
        ctx,
        LISTING,
        rpc="ListProjects",
        where={},
        # Parity: any filter shows archived projects too (ProjectRepo.List).
        filters=request.filters or _NOT_ARCHIVED,
        sort_by=field_or_none(request, "sort_by"),
        limit=request.limit,
        token=request.token,
    )
    return project_pb2.Projects(projects=[to_message(ctx, row) for row in rows], token=token)


async def get_domains(ctx: Context, request: project_pb2.GetDomainRequest) -> project_pb2.GetDomainsResponse:
    """The domains that every project has.

    source: upstream ProjectManager.GetDomains
    """
    return project_pb2.GetDomainsResponse(domains=domains(ctx))


async def seed(unit: db.UnitOfWork, identifiers: Iterable[str]) -> tuple[str, ...]:
    """Make these projects where they are missing; those that were made.

    source: upstream SeedProjects
    """
    made = []
    for identifier in identifiers:
        row = {"identifier": identifier, "name": identifier, "description": f"{identifier} description", "state": 0}
        if await unit.insert_if_absent(schema.Project, **row) is not None:
            made.append(identifier)
    return tuple(made)
