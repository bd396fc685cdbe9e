"""Apply all templates to every enabled cluster, for each project that is not archived and each domain.

Source: flyteadmin/pkg/clusterresource/controller.go (Sync).
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
import yaml
from flyteidl.admin import matchable_resource_pb2, project_pb2
from sqlalchemy import bindparam, select

from app.database import schema
from app.database.statements import Statement
from app.engine.kubernetes.api import ApiError, ClusterApi
from app.engine.kubernetes.clusters import ClusterApis
from app.engine.kubernetes.resources.apply import Applied, Kinds, apply
from app.engine.kubernetes.resources.templates import (
    BadTemplate,
    Template,
    TemplateValues,
    read_templates,
    render,
)
from app.runtime.context import Context
from app.runtime.dispatch import Server, perform
from app.services import matchable_attributes

_PROJECTS_PER_PAGE = 100
# Errors that a summary names; all are logged.
_ERRORS_SHOWN_MAX = 20

log = structlog.get_logger(__name__)

_projects = schema.table(schema.Project)
_ACTIVE = Statement(
    select(_projects.c.id, _projects.c.identifier)
    .where(_projects.c.state != project_pb2.Project.ARCHIVED, _projects.c.id < bindparam("below_id"))
    .order_by(_projects.c.id.desc())
    .limit(_PROJECTS_PER_PAGE)
)


@dataclass(slots=True)
class Summary:
    """The counts of one run.

    Attributes:
        created: Objects that were absent.
        changed: Objects that were different.
        unchanged: Objects that were as they should be.
        errors: One text for each object that could not be applied.
    """

    created: int = 0
    changed: int = 0
    unchanged: int = 0
    errors: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the counts as one line."""
        counts = f"{self.created} created, {self.changed} changed, {self.unchanged} unchanged"
        return f"{counts}, {len(self.errors)} failed"


@dataclass(frozen=True, slots=True)
class ProjectNamespace:
    """A project and domain with the values of its templates."""

    namespace: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OneCluster:
    """A cluster in one run. slots: bounds the projects that are worked on at once."""

    name: str
    api: ClusterApi
    kinds: Kinds
    slots: asyncio.Semaphore


class ResourceSync:
    """Applies templates. Objects that were applied before are left out while their text is the same.

    Args:
        server: Holds settings and database.
        clusters: The clusters.
        show: Receives the difference of each object, for a dry run; None applies the objects.

    Raises:
        BadSetting: A configured value is missing.
    """

    def __init__(self, server: Server, clusters: ClusterApis, *, show: Callable[[str], None] | None = None) -> None:
        self._server = server
        self._clusters = clusters
        self._show = show
        self._section = server.settings.cluster_resources
        self._values = TemplateValues(self._section)
        # Digest of the text that was applied last, by cluster, namespace and template.
        self._applied: dict[tuple[str, str, str], bytes] = {}

    async def run(self) -> Summary:
        """Apply everything once. Errors of objects are collected and do not stop the others.

        Raises:
            errors.FlyteError: The database does not answer.
        """
        summary = Summary()
        try:
            templates = read_templates(self._section)
        except BadTemplate as error:
            summary.errors.append(str(error))
            return summary
        kinds = {name: Kinds(api) for name, api in self._clusters.enabled().items()}
        slots = {name: asyncio.Semaphore(self._section.requests_max) for name in kinds}
        async for projects in self._projects():
            async with asyncio.TaskGroup() as group:
                for cluster, api in self._clusters.enabled().items():
                    one = OneCluster(cluster, api, kinds[cluster], slots[cluster])
                    for places in projects:
                        group.create_task(self._apply_project(one, templates, places, summary))
        return summary

    async def _projects(self) -> AsyncIterator[list[list[ProjectNamespace]]]:
        """Yield the projects page by page, newest first, each with all its domains."""
        below = 2**62
        while True:
            async with self._server.database.unit_of_work() as db:
                rows = await db.all(_ACTIVE, below_id=below)
            if rows:
                below = rows[-1].id
                yield await perform(self._server, self._read_places, [row.identifier for row in rows])
            if len(rows) < _PROJECTS_PER_PAGE:
                return

    async def _read_places(self, ctx: Context, projects: list[str]) -> list[list[ProjectNamespace]]:
        found_places = []
        settings = self._server.settings
        kind = matchable_resource_pb2.CLUSTER_RESOURCE
        for project in projects:
            places: list[ProjectNamespace] = []
            found_places.append(places)
            for domain in settings.domains:
                found = await matchable_attributes.resolve(ctx, kind, project, domain.id)
                attributes = dict(found.cluster_resource_attributes.attributes) if found is not None else {}
                # Parity: the namespace has the domain's name, the values have its id.
                namespace = settings.namespace_mapping.of(project, domain.name)
                system = {"project": project, "domain": domain.id, "namespace": namespace}
                places.append(ProjectNamespace(namespace, self._values.of(domain.id, attributes, system)))
        return found_places

    async def _apply_project(
        self, cluster: OneCluster, templates: list[Template], places: list[ProjectNamespace], summary: Summary
    ) -> None:
        """Apply the templates to the domains of one project, one after the other, in the order of their names."""
        async with cluster.slots:
            for place in places:
                for template in templates:
                    try:
                        await self._apply_one(cluster, template, place, summary)
                    except (ApiError, BadTemplate) as error:
                        text = (
                            f"Failed to create kubernetes object from config template [{template.name}] for namespace "
                            f"[{place.namespace}] with err: {error}"
                        )
                        summary.errors.append(f"cluster {cluster.name}: {text}" if cluster.name else text)

    async def _apply_one(
        self, cluster: OneCluster, template: Template, place: ProjectNamespace, summary: Summary
    ) -> None:
        document = render(template, place.values)
        key = (cluster.name, place.namespace, template.name)
        digest = hashlib.sha256(orjson.dumps(document, default=str)).digest()
        if self._applied.get(key) == digest:
            summary.unchanged += 1
            return
        applied = await apply(cluster.api, cluster.kinds, document, place.namespace, dry_run=self._show is not None)
        setattr(summary, applied.outcome, getattr(summary, applied.outcome) + 1)
        if self._show is not None:
            if applied.outcome != "unchanged":
                self._show(difference(applied, f"{place.namespace} {template.name}"))
            return
        self._applied[key] = digest


def difference(applied: Applied, title: str) -> str:
    """Return the difference of an object as a unified diff of YAML."""

    def lines(document: Mapping[str, Any] | None) -> list[str]:
        if document is None:
            return []
        shown = {**document, "metadata": {**document["metadata"]}}
        for volatile in ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"):
            shown["metadata"].pop(volatile, None)
        return yaml.safe_dump(shown, sort_keys=True).splitlines(keepends=True)

    return "".join(difflib.unified_diff(lines(applied.before), lines(applied.after), title, title))


def problem_of(summary: Summary) -> str:
    """Return the errors of a run as one text, "" for none."""
    shown = summary.errors[:_ERRORS_SHOWN_MAX]
    left = len(summary.errors) - len(shown)
    return "; ".join(shown) + (f"; and {left} more" if left else "")
