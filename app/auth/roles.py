"""Roles of callers in projects and domains. This module decides; role_store.py reads the bindings.

Each role includes the ones before it:

    view      read entities, executions and their data
    run       launch, terminate and signal executions, upload their inputs
    register  register entities, change their state and descriptions
    admin     change projects, matchable attributes and roles, report events

A binding gives a role to members in a place: a pattern of projects and a pattern of domains. A pattern is a name, the
start of names with `*` behind it, or `*`. Names are compared with case.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NamedTuple

from app import errors
from app.auth.identity import Identity

ANY = "*"
# Needs of one caller that are remembered; then remembering starts anew.
_REMEMBERED_MAX = 200

MemberKind = Literal["subject", "claim"]


class Role(IntEnum):
    """The roles in their order."""

    VIEW = 1
    RUN = 2
    REGISTER = 3
    ADMIN = 4

    @property
    def text(self) -> str:
        """Return the name in settings and messages."""
        return self.name.lower()


BY_NAME: Mapping[str, Role] = {role.text: role for role in Role}


class MemberRole(NamedTuple):
    """A role of one member in a place."""

    role: Role
    project: str
    domain: str
    kind: MemberKind
    member: str


class Need(NamedTuple):
    """A role in a place, which a call needs.

    Attributes:
        project: The project; `*` for every project.
        domain: The domain; `*` for every domain, None for any one domain of the project.
        entity: Whether only a registered version is read, as a launch of it from another project does.
    """

    role: Role
    project: str
    domain: str | None
    entity: bool = False

    @property
    def place(self) -> str:
        """Return the place as text, such as flytesnacks/development."""
        return f"{self.project or ANY}/{'any domain' if self.domain is None else self.domain or ANY}"


def denied(need: Need) -> errors.PermissionDenied:
    """Return the error for a caller without the role. It is the same whether or not the place exists."""
    return errors.PermissionDenied(f"the role {need.role.text} is needed in {need.place}")


def matches(pattern: str, name: str) -> bool:
    """Return whether a pattern matches a name. The name `*` is matched by the pattern `*` alone."""
    return name.startswith(pattern[:-1]) if pattern.endswith(ANY) and name != ANY else pattern == name


class CallerRole(NamedTuple):
    """A role in a place, of one caller."""

    role: Role
    project: str
    domain: str


class Permissions:
    """The grants of one caller.

    Attributes:
        grants: Each place once, with the highest role there.
    """

    def __init__(self, grants: Iterable[CallerRole]) -> None:
        best: dict[tuple[str, str], Role] = {}
        for role, project, domain in grants:
            best[project, domain] = max(role, best.get((project, domain), role))
        self.grants = tuple(CallerRole(role, *place) for place, role in sorted(best.items()))
        self._remembered: dict[Need, bool] = {}

    def allows(self, need: Need) -> bool:
        """Return whether the caller has what a call needs."""
        found = self._remembered.get(need)
        if found is None:
            found = any(
                role >= need.role
                and matches(project, need.project)
                and (need.domain is None or matches(domain, need.domain))
                for role, project, domain in self.grants
            )
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[need] = found
        return found

    def everywhere(self, role: Role) -> bool:
        """Return whether the caller has the role in all projects and domains."""
        return self.allows(Need(role, ANY, ANY))


NONE = Permissions(())


@dataclass(frozen=True, slots=True)
class Member:
    """The names by which bindings can mean a caller.

    Attributes:
        subjects: The user id, the client id of a service, the e-mail address if it is verified, and `*`.
        values: The values of the configured claim.
    """

    subjects: tuple[str, ...]
    values: tuple[str, ...]

    @classmethod
    def of(cls, identity: Identity, claim: str, values_max: int) -> Member:
        """Return the names of a caller; none for an anonymous one.

        The client id counts only where the client acts for itself. Otherwise a role of a client such as flytectl would
        be the role of everyone who uses it.
        """
        if identity.anonymous:
            return cls((), ())
        found = [ANY]
        if identity.subject and identity.subject != ANY:
            found.append(identity.subject)
        if identity.client_id and identity.subject in ("", identity.client_id) and identity.client_id != ANY:
            found.append(identity.client_id)
        claims = identity.claims
        if identity.user.email and identity.task is None and _verified(claims):
            found.append(identity.user.email)
        return cls(tuple(dict.fromkeys(found)), claim_values(claims, claim, values_max) if claims else ())

    def to_json(self) -> str:
        """Return the names as JSON: `{"subjects": [...], "values": [...]}`."""
        return json.dumps({"subjects": self.subjects, "values": self.values})

    @classmethod
    def from_json(cls, text: str) -> Member:
        """Return the names that `to_json` has written."""
        names = json.loads(text)
        return cls(tuple(names["subjects"]), tuple(names["values"]))


def _verified(claims: Mapping[str, Any]) -> bool:
    """Return whether the identity provider has verified the e-mail address."""
    info = claims.get("user_info")
    return claims.get("email_verified") is True or (isinstance(info, Mapping) and info.get("email_verified") is True)


def claim_values(claims: Mapping[str, Any], name: str, values_max: int) -> tuple[str, ...]:
    """Return the values of a claim: a text, or a list of texts. A claim of another form has no values.

    Args:
        claims: The claims of a token. Those of the token's object `user_info` count too.
        name: The name of the claim, or a dotted path to it.
        values_max: A list that is longer has no values.
    """
    found = _at(claims, name)
    if found is None:
        info = claims.get("user_info")
        found = _at(info, name) if isinstance(info, Mapping) else None
    if isinstance(found, str):
        return (found,) if found else ()
    if not isinstance(found, (list, tuple)) or len(found) > values_max:
        return ()
    return tuple(dict.fromkeys(value for value in found if isinstance(value, str) and value))


def _at(claims: Mapping[str, Any], name: str) -> Any:
    if name in claims:
        return claims[name]
    value: Any = claims
    for step in name.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
