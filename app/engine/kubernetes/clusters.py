"""The Kubernetes clusters of a server, by name, with their credentials.

Source: flyteadmin/pkg/executioncluster/impl.
"""

from __future__ import annotations

from collections.abc import Mapping

from app import errors
from app.engine.kubernetes import kubeconfig
from app.engine.kubernetes.api import ClusterApi
from app.settings import Settings
from app.settings.values import BadSetting

# The name of the only cluster of a server without `clusters.clusterConfigs`.
ONLY_CLUSTER = ""


class ClusterApis:
    """The APIs of all configured clusters, also of those that get no new executions.

    Raises:
        BadSetting: A file with credentials cannot be read, or the settings name a cluster twice.
    """

    def __init__(self, settings: Settings) -> None:
        requests_max = settings.engine.kubernetes.requests_max
        clusters = settings.clusters.cluster_configs
        self._several = bool(clusters)
        self._enabled = frozenset(cluster.name for cluster in clusters if cluster.enabled)
        self._apis: Mapping[str, ClusterApi]
        if not clusters:
            server = settings.server
            access = (
                kubeconfig.of_file(server.kube_config, master=server.master)
                if server.kube_config
                else kubeconfig.in_cluster(master=server.master)
            )
            api = ClusterApi(access, server.kube_client_config, requests_max=requests_max)
            self._apis = {ONLY_CLUSTER: api}
            self._enabled = frozenset((ONLY_CLUSTER,))
            return
        names = [cluster.name for cluster in clusters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadSetting(f"clusters.clusterConfigs names {', '.join(twice)} twice")
        self._apis = {
            cluster.name: ClusterApi(
                kubeconfig.of_cluster(cluster),
                cluster.kube_client_config or settings.server.kube_client_config,
                requests_max=requests_max,
            )
            for cluster in clusters
        }

    def of(self, name: str) -> ClusterApi:
        """Return the API of the cluster that an execution's row records.

        Raises:
            errors.Internal: The cluster is not configured.
        """
        api = self._apis.get(name)
        if api is None and not self._several and name == "id":
            # Upstream's name of an only cluster.
            api = self._apis[ONLY_CLUSTER]
        if api is None:
            raise errors.Internal(
                f"invalid cluster target {name}" if self._several else f"remote target {name} is not supported"
            )
        return api

    def enabled(self) -> Mapping[str, ClusterApi]:
        """Return the APIs of the clusters that get new executions, by name."""
        return {name: api for name, api in self._apis.items() if name in self._enabled}

    def all(self) -> Mapping[str, ClusterApi]:
        """Return the APIs of all clusters by name."""
        return self._apis

    async def close(self) -> None:
        """Close all connections."""
        for api in self._apis.values():
            await api.close()
