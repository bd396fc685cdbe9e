"""Section `plugins`: upstream's keys that affect tasks of the local engine.

Source: flyteplugins/go/tasks/pluginmachinery/flytek8s/config at v1.16.8.
"""

from pydantic import Field

from app.settings.connectors import AgentService, ConnectorService
from app.settings.values import Section


class K8sPlugin(Section):
    """Environment variables of all tasks."""

    default_env_vars: tuple[dict[str, str], ...] = Field(default=(), repr=False)
    """Variables, as a list of tables: `[{NAME: value}, …]`. Values are shown masked."""

    default_env_vars_from_env: tuple[dict[str, str], ...] = ()
    """Variables that are copied from this server's environment: `[{NAME: NAME_HERE}, …]`."""

    gpu_resource_name: str = "nvidia.com/gpu"
    """Name of the GPU resource in Kubernetes, for the overrides of nodes."""


class Plugins(Section):
    """Plugins of tasks."""

    k8s: K8sPlugin = K8sPlugin()
    connector_service: ConnectorService = ConnectorService()
    agent_service: AgentService = AgentService()
