"""Sections about projects and tasks: domains, namespaces, task resources, task types, queues, quality of service.

Source: flyteadmin/pkg/runtime/interfaces at v1.16.8.
"""

from pydantic import Field

from app.settings.values import Quantity, Seconds, Section


class Domain(Section):
    """A domain, which every project has."""

    id: str = Field(min_length=1)
    """The id that requests carry."""

    name: str = Field(min_length=1)
    """The name for people."""


DOMAINS = tuple(Domain(id=name, name=name) for name in ("development", "staging", "production"))


class NamespaceMapping(Section):
    """Kubernetes namespaces of executions."""

    template: str = "{{ project }}-{{ domain }}"
    """Template of the namespace of an execution, with `{{ project }}` and `{{ domain }}`."""

    def of(self, project: str, domain: str) -> str:
        """Return the namespace of a project and domain."""
        return self.template.replace("{{ project }}", project).replace("{{ domain }}", domain)


class ResourceSet(Section):
    """Quantities of Kubernetes; empty means that the platform sets none."""

    cpu: Quantity = ""
    """CPUs, as a quantity such as `500m` or `2`."""

    gpu: Quantity = ""
    """GPUs, as a whole number."""

    memory: Quantity = ""
    """Memory, as a quantity such as `500Mi`."""

    ephemeral_storage: Quantity = ""
    """Disk space that ends with the task, as a quantity such as `1Gi`."""


class TaskResources(Section):
    """Resources of tasks, unless attributes of the project or domain set others."""

    defaults: ResourceSet = ResourceSet()
    limits: ResourceSet = ResourceSet()


class WhitelistScope(Section):
    """A project, or a project and domain, that may register tasks of a type."""

    project: str = ""
    """Id of the project; empty means every project."""

    domain: str = ""
    """Id of the domain; empty means every domain of the project."""


class ExecutionQueue(Section):
    """A queue and its tags."""

    dynamic: str = ""
    """Name of the queue."""

    attributes: tuple[str, ...] = ()
    """Tags of the queue."""


class WorkflowQueue(Section):
    """Tags by which a workflow selects queues."""

    domain: str = ""
    """Id of the domain."""

    tags: tuple[str, ...] = ()
    """Tags of the queues for this domain."""


class Queues(Section):
    """Queues of AWS Batch."""

    execution_queues: tuple[ExecutionQueue, ...] = ()
    workflow_configs: tuple[WorkflowQueue, ...] = ()


class Tier(Section):
    """A tier of quality of service."""

    queueing_budget_seconds: Seconds = 0.0
    """Time that an execution of this tier may wait before it starts, as a duration."""


class QualityOfService(Section):
    """Tiers of quality of service."""

    tier_execution_values: dict[str, Tier] = {}

    default_tiers: dict[str, str] = {}
    """Tier of each domain."""
