"""How upstream spells the keys of its configuration: in camel case, with a few exceptions.

Source: the json tags of flyteadmin/pkg/runtime/interfaces, flyteadmin/pkg/config, flyteadmin/auth/config and of
flytestdlib's storage, database and logger sections at v1.16.8.
"""

_EXCEPTIONS = {
    # Sections.
    "task_resources": "task_resources",
    "namespace_mapping": "namespace_mapping",
    "cluster_resources": "cluster_resources",
    "task_type_whitelist": "task_type_whitelist",
    # Keys of server, storage, secrets and logger.
    "kube_config": "kube-config",
    "access_key": "access-key",
    "secret_key": "secret-key",
    "auth_type": "auth-type",
    "disable_ssl": "disable-ssl",
    "enable_multicontainer": "enable-multicontainer",
    "max_download_mbs": "maxDownloadMBs",
    "max_size_mbs": "max_size_mbs",
    "target_gc_percent": "target_gc_percent",
    "secrets_prefix": "secrets-prefix",
    "env_prefix": "env-prefix",
    "show_source": "show-source",
    # Keys of datacatalog.
    "heartbeat_grace_period_multiplier": "heartbeat-grace-period-multiplier",
    "max_reservation_heartbeat_seconds": "max-reservation-heartbeat",
    # Keys of auth and notifications.
    "http_proxy_url": "httpProxyURL",
    "third_party_config": "thirdPartyConfig",
    "client_secret": "client_secret",
    "redirect_uris": "redirect_uris",
    "grant_types": "grant_types",
    "response_types": "response_types",
    "token_signing_rsa_key_secret_name": "tokenSigningRSAKeySecretName",
    "old_token_signing_rsa_key_secret_name": "oldTokenSigningRSAKeySecretName",
    "smtp_skip_tls_verify": "smtpSkipTLSVerify",
    "use_utc_tz": "useUTCTz",
}


def plain(key: str) -> str:
    """Return a key in the form in which keys are compared: httpPort, http_port and HTTP-PORT are one."""
    return key.replace("_", "").replace("-", "").lower()


def camel(name: str, *, duration: bool = False) -> str:
    """Return upstream's spelling of a field.

    Args:
        name: The field in snake case.
        duration: Whether the field holds a duration, whose key upstream writes without the unit.
    """
    if name in _EXCEPTIONS:
        return _EXCEPTIONS[name]
    first, *rest = (name.removesuffix("_seconds") if duration else name).split("_")
    return first + "".join(word.capitalize() for word in rest)
