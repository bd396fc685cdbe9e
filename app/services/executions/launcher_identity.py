"""Effects of the caller's identity on an execution: principal, execution identity, annotations.

Where authentication is off, the caller is anonymous and nothing here changes a request.
Source: ExecutionManager (addIdentityAnnotations, populateExecutionSpec), resolveSecurityCtx.
"""

from __future__ import annotations

import re

from flyteidl.admin import execution_pb2
from flyteidl.core import identifier_pb2

from app.auth.identity import Identity
from app.runtime.context import Context
from app.services.execution_config import Config

_PREFIX = "flyte.org"
# DNS-1123: labels of 63 characters, together at most 253.
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")


def acts_for_others(ctx: Context) -> bool:
    """Return whether the caller may launch for another user: a service, or an engine of this server."""
    return ctx.auth is None or ctx.identity.method == "internal" or is_service(ctx.identity, ctx.settings.auth.services)


def is_service(identity: Identity, services: tuple[str, ...]) -> bool:
    """Return whether an access token belongs to a service, not to a person.

    The subject of such a token is its client, as in the grant client_credentials of most providers (Auth0 adds
    `@clients`); Entra ID writes `idtyp`; upstream writes no subject. `auth.services` names the services of providers
    whose tokens have another form.
    """
    if identity.method not in ("access_token", "personal_token"):
        return False
    subject, client = identity.subject, identity.client_id
    if {subject, client} & {*services}:
        return True
    if identity.method == "personal_token":
        return False
    by_client = not subject or (bool(client) and subject in (client, f"{client}@clients"))
    return by_client or identity.claims.get("idtyp") == "app"


def principal_of_child(ctx: Context, parent: identifier_pb2.WorkflowExecutionIdentifier, owner: str) -> str:
    """Return the principal of a child execution.

    Deviates: for upstream it is always the owner of the parent, so a user can launch under the name of another by
    naming a node of that user's execution.

    Args:
        ctx: The call.
        parent: The parent execution that the request names.
        owner: The principal of the parent execution.
    """
    grant = ctx.identity.task
    of_task = grant is not None and (grant.project, grant.domain, grant.execution) == (
        parent.project,
        parent.domain,
        parent.name,
    )
    return owner if of_task or acts_for_others(ctx) else ctx.principal


def set_execution_identity(ctx: Context, spec: execution_pb2.ExecutionSpec, config: Config) -> None:
    """Replace the execution identity in a merged configuration by one that the caller may run as.

    Deviates: upstream keeps the identity of the request, the relaunched execution or the launch plan, whoever the
    caller is. Platforms give tasks the rights of that identity.

    Args:
        ctx: The call.
        spec: The spec of the request.
        config: The merged configuration.
    """
    if ctx.auth is None:
        return
    wanted = spec.security_context.run_as.execution_identity if acts_for_others(ctx) else ""
    if not wanted and ctx.identity.task is not None:
        wanted = ctx.identity.task.execution_identity
    config.security_context.run_as.execution_identity = wanted or ctx.principal


def annotate(ctx: Context, spec: execution_pb2.ExecutionSpec, config: Config) -> None:
    """Add the caller's identity to the annotations where `flyteadmin.injectIdentityAnnotations` is set.

    Parity: the stored spec shows them only where the request has annotations of its own.
    """
    section = ctx.settings.flyteadmin
    prefix = section.identity_annotation_prefix or _PREFIX
    if not section.inject_identity_annotations or ctx.identity.anonymous or not _SUBDOMAIN.fullmatch(prefix):
        return
    if ctx.identity.client_id:
        kind, values = "app", dict.fromkeys(("email", "sub", "id"), ctx.identity.client_id)
    else:
        kind, values = "user", {"email": ctx.identity.user.email, "sub": ctx.identity.subject}
    holders = [config.annotations.values, *([spec.annotations.values] if spec.annotations.values else [])]
    for key in section.identity_annotation_keys:
        name = f"{prefix}/{kind}-{key}"
        for holder in holders:
            if values.get(key) and name not in holder:
                holder[name] = values[key]
