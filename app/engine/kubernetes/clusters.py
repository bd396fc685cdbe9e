"""The Kubernetes clusters of a server, by name, with their credentials.

Source: flyteadmin/pkg/executioncluster/impl.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import Cluster as KubeCluster
from lightkube.config.models import User as KubeUser
from lightkube.core.exceptions import ConfigError

from app import errors
from app.engine.kubernetes.api import ClusterApi
from app.settings import Settings
from app.settings.clusters import Cluster
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
            config = _only_cluster(settings)
            api = ClusterApi(config, settings.server.kube_client_config, requests_max=requests_max)
            self._apis = {ONLY_CLUSTER: api}
            self._enabled = frozenset((ONLY_CLUSTER,))
            return
        names = [cluster.name for cluster in clusters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadSetting(f"clusters.clusterConfigs names {', '.join(twice)} twice")
        self._apis = {
            cluster.name: ClusterApi(
                _config_of(cluster),
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


def _config_of(cluster: Cluster) -> SingleConfig:
    """Return address and credentials of a cluster of `clusters.clusterConfigs`."""
    if cluster.in_cluster:
        return _in_cluster()
    token, authority = Path(cluster.auth.token_path), Path(cluster.auth.cert_path)
    for path in (token, authority):
        if not path.is_file():
            raise BadSetting(f"clusters.clusterConfigs: cluster {cluster.name} needs the file {path}, which is missing")
    kube = KubeCluster(server=cluster.endpoint)
    if authority.stat().st_size:
        kube.certificate_auth = str(authority.absolute())
    # The token is read again after each 401, and without the newline at its end.
    return _single(KubeConfig.from_one(cluster=kube, user=KubeUser(token_file=str(token.absolute()))))


def _only_cluster(settings: Settings) -> SingleConfig:
    path = os.path.expandvars(settings.server.kube_config)
    try:
        config = _single(KubeConfig.from_file(path)) if path else _in_cluster()
    except (ConfigError, OSError, KeyError, yaml.YAMLError) as error:
        raise BadSetting(f"server.kube-config: {path} cannot be used: {error}") from error
    if settings.server.master:
        config.cluster.server = settings.server.master
    if config.user is None:
        return SingleConfig(
            context_name=config.context_name,
            context=config.context,
            cluster=config.cluster,
            user=KubeUser(),
            fname=config.fname,
        )
    return config


def _in_cluster() -> SingleConfig:
    try:
        return _single(KubeConfig.from_service_account())
    except (ConfigError, OSError, KeyError) as error:
        raise BadSetting(
            "engine.kind=kubernetes needs a cluster: set server.kube-config to a kubeconfig file or "
            f"clusters.clusterConfigs, or start the server inside a cluster. Cannot get incluster kubeconfig: {error}"
        ) from error


def _single(config: KubeConfig) -> SingleConfig:
    single = config.get()
    if single is None:
        raise ConfigError("no current context")
    return single
