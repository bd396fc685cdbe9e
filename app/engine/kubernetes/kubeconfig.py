"""Address and credentials of a cluster: from a kubeconfig file, from a pod's service account, or from two files."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import yaml
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import Cluster as KubeCluster
from lightkube.config.models import User as KubeUser
from lightkube.core.exceptions import ConfigError

from app.engine.kubernetes.credentials import (
    ClusterCredentials,
    CredentialsError,
    CredentialSource,
    ExecPlugin,
    FixedToken,
    TlsFiles,
    TokenFile,
    bearer,
)
from app.engine.kubernetes.http import Connections
from app.settings.clusters import Cluster
from app.settings.values import BadSetting

_FILE_BYTES_MAX = 16 * 1024 * 1024
# Keys of kubeconfig files that change where or as whom a client calls, and that this client does not follow.
_CLUSTER_KEYS = ("proxy-url", "tls-server-name")
_UNUSABLE = (ConfigError, CredentialsError, OSError, ValueError)
_USER_KEYS = ("auth-provider", "as", "as-uid", "as-groups", "as-user-extra")


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How a cluster is called.

    Attributes:
        address: The address of its API server, without a slash at the end.
        credentials: The authorization of the requests, and the TLS context of the connections.
    """

    address: str
    credentials: ClusterCredentials


def of_cluster(cluster: Cluster) -> ClusterAccess:
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
    except _UNUSABLE as error:
        raise BadSetting(f"clusters.clusterConfigs: cluster {cluster.name}: {error}") from error


def of_file(path: str, *, master: str) -> ClusterAccess:
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
    except (*_UNUSABLE, TypeError, yaml.YAMLError, msgspec.MsgspecError, BadSetting) as error:
        raise BadSetting(f"server.kube-config: {path} cannot be used: {error}") from error


def in_cluster(*, master: str = "") -> ClusterAccess:
    """Return the access of a pod to its own cluster. master: an address in its place. Raises BadSetting."""
    try:
        config = _single(KubeConfig.from_service_account())
        if master:
            config.cluster.server = master
        return _access(config, {}, {})
    except (*_UNUSABLE, KeyError) as error:
        raise BadSetting(
            "engine.kind=kubernetes needs a cluster: set server.kube-config to a kubeconfig file or "
            f"clusters.clusterConfigs, or start the server inside a cluster. Cannot get incluster kubeconfig: {error}"
        ) from error


def _access(config: SingleConfig, user: Mapping[str, Any], cluster: Mapping[str, Any]) -> ClusterAccess:
    """Return the access of a context; user and cluster are its entries as the file has them."""
    who = config.user or KubeUser()
    paths = (config.cluster.certificate_auth, who.client_cert, who.client_key)
    tls = TlsFiles(
        partial(verify_cluster, config.cluster, who, config.abs_file),
        [Path(config.abs_file(path)) for path in paths if path],
    )
    folder = config.fname.parent if config.fname is not None else Path()
    address = _address(config.cluster, who)
    # An address that cannot be used ends the start of the server.
    Connections(address)
    return ClusterAccess(address, ClusterCredentials(_source(who, user.get("exec"), folder, cluster, tls)))


def _address(cluster: KubeCluster, user: KubeUser) -> str:
    """Return the address of a cluster, with the scheme that Kubernetes' client for Go adds to one without."""
    address = cluster.server.rstrip("/")
    if "://" in address:
        return address
    has_certificates = cluster.certificate_auth or cluster.certificate_auth_data or user.client_cert
    return f"{'https' if has_certificates or user.client_cert_data or cluster.insecure else 'http'}://{address}"


def _source(
    user: KubeUser, plugin: Mapping[str, Any] | None, folder: Path, cluster: Mapping[str, Any], tls: TlsFiles
) -> CredentialSource:
    if user.token_file is not None:
        return TokenFile(folder / user.token_file, tls)
    if user.token is not None:
        return FixedToken(bearer(user.token), tls)
    if user.username and user.password:
        pair = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return FixedToken(f"Basic {pair}", tls)
    if plugin is not None:
        return ExecPlugin(plugin, folder, cluster, tls)
    return FixedToken("", tls)


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
