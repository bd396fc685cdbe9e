"""Address and credentials of a cluster: from a kubeconfig file, from a pod's service account, or from two files."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import yaml
from lightkube.config.client_adapter import BearerAuth, verify_cluster
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import Cluster as KubeCluster
from lightkube.config.models import User as KubeUser
from lightkube.core.exceptions import ConfigError

from app.engine.kubernetes.credentials import ExecPlugin, RenewedAuth, TokenFile
from app.settings.clusters import Cluster
from app.settings.values import BadSetting

_FILE_BYTES_MAX = 16 * 1024 * 1024
# Keys of kubeconfig files that change where or as whom a client calls, and that this client does not follow.
_CLUSTER_KEYS = ("proxy-url", "tls-server-name")
_USER_KEYS = ("auth-provider", "as", "as-uid", "as-groups", "as-user-extra")


@dataclass(frozen=True, slots=True)
class Access:
    """How a cluster is called.

    Attributes:
        address: The address of its API server, without a slash at the end.
        tls: The TLS context of the connections, with the client certificate.
        auth: Signs the requests; None where the client certificate or nothing does.
    """

    address: str
    tls: ssl.SSLContext
    auth: httpx2.Auth | None


def of_cluster(cluster: Cluster) -> Access:
    """Return the access to a cluster of `clusters.clusterConfigs`. Raises BadSetting."""
    if cluster.in_cluster:
        return in_cluster()
    token, authority = Path(cluster.auth.token_path), Path(cluster.auth.cert_path)
    for path in (token, authority):
        if not path.is_file():
            raise BadSetting(f"clusters.clusterConfigs: cluster {cluster.name} needs the file {path}, which is missing")
    kube = KubeCluster(server=cluster.endpoint)
    if authority.stat().st_size:
        kube.certificate_auth = str(authority.absolute())
    user = KubeUser(token_file=str(token.absolute()))
    try:
        return _access(_single(KubeConfig.from_one(cluster=kube, user=user)), {}, {})
    except (OSError, ValueError) as error:
        raise BadSetting(f"clusters.clusterConfigs: cluster {cluster.name}: {error}") from error


def of_file(path: str, *, master: str) -> Access:
    """Return the access to the cluster of a kubeconfig file's current context.

    Args:
        path: The file; variables of the environment are expanded.
        master: An address that replaces the file's, "" for none.

    Raises:
        BadSetting: The file cannot be used.
    """
    file = Path(os.path.expandvars(path)).expanduser()
    try:
        if file.stat().st_size > _FILE_BYTES_MAX:
            raise BadSetting(f"server.kube-config: {path} has more than {_FILE_BYTES_MAX} bytes")
        document = yaml.safe_load(file.read_text())
        if not isinstance(document, dict):
            raise ConfigError("the file is no mapping")
        config = _single(KubeConfig.from_dict(document, fname=file.absolute()))
        cluster = _entry(document, "clusters", "cluster", config.context.cluster)
        user = _entry(document, "users", "user", config.context.user)
        _refuse(cluster, _CLUSTER_KEYS)
        _refuse(user, _USER_KEYS)
        if master:
            config.cluster.server = master
        return _access(config, user, cluster)
    except KeyError as error:
        raise BadSetting(f"server.kube-config: {path} cannot be used: {error} is missing") from error
    except (ConfigError, OSError, ValueError, TypeError, yaml.YAMLError, msgspec.MsgspecError, BadSetting) as error:
        raise BadSetting(f"server.kube-config: {path} cannot be used: {error}") from error


def in_cluster(*, master: str = "") -> Access:
    """Return the access of a pod to its own cluster. master: an address in its place. Raises BadSetting."""
    try:
        config = _single(KubeConfig.from_service_account())
        if master:
            config.cluster.server = master
        return _access(config, {}, {})
    except (ConfigError, OSError, KeyError) as error:
        raise BadSetting(
            "engine.kind=kubernetes needs a cluster: set server.kube-config to a kubeconfig file or "
            f"clusters.clusterConfigs, or start the server inside a cluster. Cannot get incluster kubeconfig: {error}"
        ) from error


def _access(config: SingleConfig, user: Mapping[str, Any], cluster: Mapping[str, Any]) -> Access:
    """Return the access of a context; user and cluster are its entries as the file has them."""
    who = config.user or KubeUser()
    tls = verify_cluster(config.cluster, who, config.abs_file, trust_env=False)
    folder = config.fname.parent if config.fname is not None else Path()
    return Access(config.cluster.server.rstrip("/"), tls, _auth(who, user.get("exec"), folder, cluster, tls))


def _auth(
    user: KubeUser, plugin: Mapping[str, Any] | None, folder: Path, cluster: Mapping[str, Any], tls: ssl.SSLContext
) -> httpx2.Auth | None:
    if user.token_file is not None:
        return RenewedAuth(TokenFile(folder / user.token_file))
    if user.token is not None:
        return BearerAuth(user.token.strip())
    if user.username and user.password:
        return httpx2.BasicAuth(user.username, user.password)
    if plugin is not None:
        return RenewedAuth(ExecPlugin(plugin, folder, cluster, tls))
    return None


def _single(config: KubeConfig) -> SingleConfig:
    single = config.get()
    if single is None:
        raise ConfigError("no current context")
    return single


def _entry(document: Mapping[str, Any], plural: str, kind: str, name: str | None) -> dict[str, Any]:
    """Return a cluster or user of a kubeconfig file; {} for a context without a user."""
    return next((dict(entry[kind] or {}) for entry in document.get(plural) or () if entry["name"] == name), {})


def _refuse(entry: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if entry.get(key):
            raise BadSetting(f"{key} is not supported")
