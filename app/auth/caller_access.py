"""The access of the caller of one call: roles, and for a running task the limits of its token.

`app.runtime.dispatch` asks `AccessCheck` once per call; services ask the `Access` in their context where a place is
known only after a read, and for lists across projects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app import errors, limited_log
from app.auth import rpc_roles, task_access
from app.auth.identity import Identity, TaskGrant
from app.auth.object_places import ObjectPlaces
from app.auth.role_store import Roles
from app.auth.roles import ANY, CallerRole, Member, Need, Permissions, Role, denied
from app.blobs import Blobs
from app.database.base import Database
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Access:
    """The roles and limits of one caller.

    Attributes:
        permissions: The roles of the caller; None where roles are off.
        task: The execution to which the caller's token is restricted.
        objects: Finds the places of objects.
    """

    permissions: Permissions | None
    task: TaskGrant | None
    objects: ObjectPlaces

    def allows(self, need: Need) -> bool:
        """Return whether the caller has what a call needs."""
        may = self.permissions is None or self.permissions.allows(need)
        return may if self.task is None else task_access.allows(self.task, need, launcher_may=may)

    def require(self, need: Need) -> None:
        """Raise PERMISSION_DENIED where the caller lacks a need."""
        if not self.allows(need):
            raise denied(need)

    def require_entity(self, project: str, domain: str) -> None:
        """Raise PERMISSION_DENIED where the caller may not use a registered version of this place."""
        self.require(Need(Role.VIEW, project, domain, True))

    def may_read(self, uri: str) -> bool:
        """Return whether the caller may read an object of the storage."""
        return all(self.allows(Need(Role.VIEW, *place)) for place in self.objects.of_uri(uri))

    def visible(self) -> tuple[CallerRole, ...]:
        """Return the places that the caller may see, as patterns."""
        if self.task is not None:
            return (CallerRole(Role.VIEW, self.task.project, self.task.domain),)
        return (CallerRole(Role.VIEW, ANY, ANY),) if self.permissions is None else self.permissions.grants


class AccessCheck:
    """Decides whether a caller may make a call. One object per process, where authentication or roles are on."""

    def __init__(self, roles: Roles | None, objects: ObjectPlaces) -> None:
        self.roles = roles
        self._objects = objects

    async def access(self, identity: Identity) -> Access | None:
        """Return what a caller may do, None where the caller may do everything."""
        if identity.method == "internal" or (self.roles is None and identity.task is None):
            return None
        permissions = None if self.roles is None else await self.roles.permissions(identity)
        return Access(permissions, identity.task, self._objects)

    async def access_of(self, member: Member) -> Access | None:
        """Return what a caller of these names may do, None where roles are off."""
        if self.roles is None:
            return None
        return Access(await self.roles.permissions_of(member), None, self._objects)

    async def check(self, identity: Identity, rpc: str, request: Any) -> Access | None:
        """Return what a caller may do, after the check that the caller may call an RPC with a request.

        Args:
            identity: The caller.
            rpc: The name of the RPC.
            request: The request message.

        Raises:
            PermissionDenied: The caller lacks a role; the message names role and place.
        """
        access = await self.access(identity)
        if access is None:
            return None
        if identity.task is not None and rpc not in task_access.TASK_RPCS:
            _log_denial(identity, rpc, "a running task may not call it")
            raise errors.PermissionDenied(f"the token of a running task may not call {rpc}")
        for need in rpc_roles.needs_of(rpc, request, self._objects):
            if not access.allows(need):
                _log_denial(identity, rpc, f"{need.role.text} in {need.place}")
                raise denied(need)
        return access

    def sees_everything(self, identity: Identity) -> bool:
        """Return whether a caller may see all projects, by bindings that are young enough."""
        if identity.task is not None:
            return False
        if self.roles is None:
            return True
        if self.roles.stale:
            return False
        return self.roles.known_permissions(identity).everywhere(Role.VIEW)


def _log_denial(identity: Identity, rpc: str, wanted: str) -> None:
    """Log a refusal, at most once a minute for the same caller and RPC. `auth.audit` logs each."""
    who = identity.subject or identity.client_id or identity.method
    limited_log.warning("permission_denied", key=(who, rpc), who=who, rpc=rpc, wanted=wanted[:200])


def access_check(settings: Settings, database: Database, blobs: Blobs) -> AccessCheck | None:
    """Return the check of a process; None where neither authentication nor roles are on."""
    roles = Roles(settings, database) if settings.auth.roles.enabled else None
    if roles is None and not settings.server.security.use_auth:
        return None
    return AccessCheck(roles, ObjectPlaces(settings, blobs))
