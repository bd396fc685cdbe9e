"""Sections about Kubernetes clusters: `clusters`, `clusterPools`, `cluster_resources`.

Source: flyteadmin/pkg/runtime/interfaces at v1.16.8.
"""

from typing import Any

from pydantic import Field, field_validator

from app.settings.server import KubeClient
from app.settings.values import Seconds, Section, merged


class ClusterAuth(Section):
    """Files with the credentials of a cluster."""

    token_path: str = ""
    """Path of the bearer token."""

    cert_path: str = ""
    """Path of the certificate of the cluster's authority."""


class Cluster(Section):
    """A Kubernetes cluster that runs executions."""

    name: str = ""
    """Name of the cluster."""

    endpoint: str = ""
    """Address of its API server."""

    auth: ClusterAuth = ClusterAuth()

    enabled: bool = False
    """Whether executions are sent to the cluster."""

    in_cluster: bool = False
    """Whether this server runs inside the cluster."""

    kube_client_config: KubeClient | None = None


class ClusterWeight(Section):
    """The share of a cluster in a label."""

    id: str = ""
    """Name of the cluster."""

    weight: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the executions, from 0 to 1."""


class Clusters(Section):
    """Kubernetes clusters that run executions."""

    cluster_configs: tuple[Cluster, ...] = ()
    label_cluster_map: dict[str, tuple[ClusterWeight, ...]] = {}

    default_execution_label: str = ""
    """Label of executions that attributes give no label."""


class ClusterPool(Section):
    """The cluster pool of a domain."""

    pool: str = ""
    """Name of the pool, recorded with each execution of the domain that attributes give no pool."""


class ClusterPools(Section):
    """Cluster pools by domain."""

    cluster_pool_assignments: dict[str, ClusterPool] = {}


class DataSourceFrom(Section):
    """The place of a template's value."""

    env: str = ""
    """Name of an environment variable that holds the value."""

    file_path: str = ""
    """Path of a file that holds the value."""


class DataSource(Section):
    """A value for a template."""

    value: str = Field(default="", repr=False)
    """The value itself. Shown masked."""

    value_from: DataSourceFrom = DataSourceFrom()


class ClusterResources(Section):
    """Kubernetes resources that are made for each project and domain from templates."""

    template_path: str = ""
    """Folder of the templates: files whose names end with `.yaml`."""

    template_data: dict[str, DataSource] = {}
    """Values of templates by name, as a table or as a list of tables."""

    custom_data: dict[str, dict[str, DataSource]] = {}
    """Values of templates by id of the domain, which take precedence over `templateData`."""

    refresh_interval_seconds: Seconds = 60.0
    """Time between two synchronisations, as a duration."""

    standalone_deployment: bool = False
    """Synchronise only by `flyteadmin clusterresource run`, not in each server."""

    requests_max: int = Field(default=10, ge=1)
    """Objects that are applied at once, per cluster. Not upstream's."""

    @field_validator("template_data", "custom_data", mode="before")
    @classmethod
    def _tables(cls, value: Any) -> Any:
        value = merged(value)
        return {key: merged(part) for key, part in value.items()} if isinstance(value, dict) else value
