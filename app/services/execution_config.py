"""Merge the configuration that an execution runs with from its sources.

Each field is taken from the first source that has it: the request, the launch plan, the most specific attribute,
the project's attribute, the deprecated auth fields, the server's settings. A map is taken from one source, not merged.
Proto: admin.WorkflowExecutionConfig. Source: pkg/manager/impl/util (MergeIntoExecConfig), getExecutionConfig.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

from flyteidl.admin import common_pb2, execution_pb2, matchable_resource_pb2
from flyteidl.core import security_pb2

from app.settings import Settings

Config: TypeAlias = matchable_resource_pb2.WorkflowExecutionConfig
AuthRole: TypeAlias = common_pb2.AuthRole

_MAPS = ("labels", "annotations", "envs")


def _has_identity(context: security_pb2.SecurityContext) -> bool:
    """Return whether a security context names an identity. Parity: secrets or tokens alone do not count."""
    identity = context.run_as
    return bool(identity.k8s_service_account or identity.iam_role or identity.execution_identity)


def merge(config: Config, source: Any) -> None:
    """Copy the fields that config lacks from an ExecutionSpec, a LaunchPlanSpec or a WorkflowExecutionConfig."""
    if not config.max_parallelism and source.max_parallelism > 0:
        config.max_parallelism = source.max_parallelism
    if not config.HasField("security_context") and _has_identity(source.security_context):
        config.security_context.CopyFrom(source.security_context)
    prefix = source.raw_output_data_config.output_location_prefix
    if not config.raw_output_data_config.output_location_prefix and prefix:
        config.raw_output_data_config.CopyFrom(source.raw_output_data_config)
    for name in _MAPS:
        entries = getattr(source, name)
        if not getattr(config, name).values and entries.values:
            getattr(config, name).CopyFrom(entries)
    if not config.HasField("interruptible") and source.HasField("interruptible"):
        config.interruptible.CopyFrom(source.interruptible)
    config.overwrite_cache = config.overwrite_cache or source.overwrite_cache


def inherit(spec: execution_pb2.ExecutionSpec, parent: Config, own: Iterable[Any]) -> None:
    """Copy the configuration of a parent execution into the spec of its child execution.

    Deviates: in upstream every value of the parent, also the server's default, replaces the launch plan's. The
    max_parallelism of a launch plan then never applies to a child (flyteorg/flyte#4568). Here the child's own sources
    take precedence, in maps key by key.
    Parity: the security context is the parent's.

    Args:
        spec: The child's spec, which is changed.
        parent: The configuration of the parent.
        own: The child's own sources: its launch plan, then the attributes of its workflow.
    """
    config = Config()
    for source in own:
        merge(config, source)
    for name in ("labels", "annotations"):
        values = {**getattr(parent, name).values, **getattr(config, name).values}
        if values:
            getattr(spec, name).values.update(values)
    envs = {pair.key: pair.value for pair in (*parent.envs.values, *config.envs.values)}
    for key, value in envs.items():
        spec.envs.values.add(key=key, value=value)
    if _has_identity(parent.security_context):
        spec.security_context.CopyFrom(parent.security_context)
    if not config.max_parallelism:
        config.max_parallelism = parent.max_parallelism
    spec.max_parallelism = config.max_parallelism
    spec.overwrite_cache = config.overwrite_cache or parent.overwrite_cache
    for name in ("raw_output_data_config", "interruptible"):
        source = config if config.HasField(name) else parent
        if source.HasField(name):
            getattr(spec, name).CopyFrom(getattr(source, name))


def from_settings(settings: Settings) -> Config:
    """Return the last source: the configuration in section flyteadmin of the settings."""
    section = settings.flyteadmin
    config = Config(max_parallelism=section.max_parallelism, overwrite_cache=section.overwrite_cache)
    if section.assumable_iam_role or section.k8s_service_account:
        config.security_context.run_as.iam_role = section.assumable_iam_role
        config.security_context.run_as.k8s_service_account = section.k8s_service_account
    if section.output_location_prefix:
        config.raw_output_data_config.output_location_prefix = section.output_location_prefix
    if section.interruptible:
        config.interruptible.value = True
    config.labels.values.update(section.labels)
    config.annotations.values.update(section.annotations)
    for key, value in section.envs.items():
        config.envs.values.add(key=key, value=value)
    return config


def auth_role(spec: Any, launch_plan: Any | None) -> AuthRole:
    """Return the role in the deprecated fields, of which the newest has precedence (upstream resolveAuthRole)."""
    for holder in (spec, launch_plan):
        if holder is not None and holder.HasField("auth_role"):
            role: AuthRole = holder.auth_role
            return role
    if launch_plan is None:
        return AuthRole()
    if launch_plan.HasField("auth"):
        old = launch_plan.auth
        return AuthRole(
            assumable_iam_role=old.assumable_iam_role, kubernetes_service_account=old.kubernetes_service_account
        )
    return AuthRole(assumable_iam_role=launch_plan.role)


def resolve(
    spec: Any, launch_plan: Any | None, attributes: Iterable[Config], settings: Settings, *, principal: str
) -> Config:
    """Return the merged configuration, in which security_context.run_as is always present.

    Args:
        spec: The ExecutionSpec of the request.
        launch_plan: The LaunchPlanSpec; None for a single task.
        attributes: The matchable attributes, the most specific one first.
        settings: The server's settings.
        principal: The caller, who becomes the execution identity if no source has one.
    """
    config = Config()
    merge(config, spec)
    if launch_plan is not None:
        merge(config, launch_plan)
    for attribute in attributes:
        merge(config, attribute)
    if not config.HasField("security_context"):
        role = auth_role(spec, launch_plan)
        if role.assumable_iam_role or role.kubernetes_service_account:
            config.security_context.run_as.iam_role = role.assumable_iam_role
            config.security_context.run_as.k8s_service_account = role.kubernetes_service_account
    merge(config, from_settings(settings))
    config.security_context.run_as.SetInParent()
    if not config.security_context.run_as.execution_identity:
        config.security_context.run_as.execution_identity = principal
    return config
