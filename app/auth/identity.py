"""Who calls: the identity that a token, a session or a layer in front of this server proves.

Source: flyteadmin/auth/identity_context.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# The scope without which a token opens nothing.
ALL = "all"

Method = Literal[
    "anonymous", "front", "internal", "access_token", "id_token", "session", "personal_token", "api_key", "task"
]


@dataclass(frozen=True, slots=True)
class UserInfo:
    """The person behind a token, as the identity provider describes them. Source: identity.proto UserInfoResponse."""

    subject: str = ""
    name: str = ""
    preferred_username: str = ""
    given_name: str = ""
    family_name: str = ""
    email: str = ""
    picture: str = ""


@dataclass(frozen=True, slots=True)
class TaskGrant:
    """The execution to which the token of a running task is restricted.

    Attributes:
        node: The unique id of the node for which the task runs.
        execution_identity: The execution identity of the execution; executions that the task launches have the same.
    """

    project: str
    domain: str
    execution: str
    node: str = ""
    execution_identity: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls.

    Attributes:
        subject: The caller's user id, which executions store as principal; "" for an anonymous caller.
        client_id: The OAuth client for which a token was issued.
        scopes: The scopes of the token.
        user: The person; empty for services.
        claims: All claims of the token.
        method: How the identity was proved. `front`: by an ASGI layer in front of this server. `internal`: the caller
            is an engine or a background service of this server. `api_key`: by `mcp.apiKey`.
        expires_at: The end of the token's validity, in seconds since 1970; None where there is none.
        task: The execution to which a task's token is restricted.
    """

    subject: str = ""
    client_id: str = ""
    scopes: frozenset[str] = frozenset()
    user: UserInfo = UserInfo()
    claims: Mapping[str, Any] = field(default_factory=dict)
    method: Method = "anonymous"
    expires_at: float | None = None
    task: TaskGrant | None = None

    @property
    def anonymous(self) -> bool:
        """Return whether nobody is signed in."""
        return self.method == "anonymous"


ANONYMOUS = Identity()
# Engines and background services act with it. Everything is allowed to it.
INTERNAL = Identity(method="internal")
