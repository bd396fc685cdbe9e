"""Tokens of running tasks: short-lived, of the launcher, and restricted to the execution and node that they run for.

The local engine gives one to each attempt of a task, in a private file that it replaces while the attempt runs. A token
is a JWT with a key of its own: no other verifier accepts it, and no token of another issuer is accepted here. It is
refused once its execution or its node has ended. Not upstream's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import and_, bindparam, select

from app.auth.identity import ALL, Identity, TaskGrant, UserInfo
from app.auth.refusals import TokenRefused, log_refusal
from app.database import schema
from app.database.base import Database
from app.database.statements import Statement

TYPE = "flyte-task+jwt"
_ALGORITHM = "HS256"
_KEY_BYTES = 32
_KIND = "task token"
# All tokens of tasks begin with it. Decoding the header of each bearer token would take 90 µs of CPU.
_HEADER = jwt.encode({}, bytes(_KEY_BYTES), algorithm=_ALGORITHM, headers={"typ": TYPE}).partition(".")[0] + "."
_ENDS = frozenset({"SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT", "SKIPPED", "RECOVERED"})

_executions, _nodes = schema.table(schema.Execution), schema.table(schema.NodeExecution)
_KEY = ("execution_project", "execution_domain", "execution_name")
_PHASES = Statement(
    select(_executions.c.phase.label("execution"), _nodes.c.phase.label("node"))
    .select_from(
        _executions.outerjoin(
            _nodes,
            and_(*(_executions.c[name] == _nodes.c[name] for name in _KEY), _nodes.c.node_id == bindparam("node")),
        )
    )
    .where(*(_executions.c[name] == bindparam(name) for name in _KEY))
)


def signing_key(secret: bytes) -> bytes:
    """Derive the key of task tokens from a secret that all servers of a deployment share."""
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"flyteadmin task token").derive(secret)


class TaskTokens:
    """Issues the tokens of tasks.

    Args:
        key: The key that signs (`signing_key`).
        lifespan_seconds: Validity of a token; the engine replaces it before.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(self, key: bytes, lifespan_seconds: float, *, clock: Callable[[], float] = time.time) -> None:
        self.lifespan_seconds = lifespan_seconds
        self._key = key
        self._clock = clock

    def issue(self, subject: str, grant: TaskGrant) -> str:
        """Return a token.

        Args:
            subject: The principal of the execution.
            grant: The execution and node for which the task runs.
        """
        now = self._clock()
        claims = {
            "sub": subject,
            "iat": int(now),
            "exp": int(now + self.lifespan_seconds) + 1,
            "project": grant.project,
            "domain": grant.domain,
            "execution": grant.execution,
            "node": grant.node,
            "execution_identity": grant.execution_identity,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"typ": TYPE})


class TaskTokenVerifier:
    """Recognises tokens of tasks. Implements `app.auth.authentication.Verifier`.

    Args:
        key: The key that signs.
        database: Holds the phases of executions and nodes.
    """

    def __init__(self, key: bytes, database: Database) -> None:
        self._key = key
        self._database = database

    @staticmethod
    def recognises(token: str) -> bool:
        """Return whether a token begins with the header of a task's token; nothing else of it is checked."""
        return token.startswith(_HEADER)

    async def verify(self, token: str, public_url: str) -> Identity:
        """Return the launcher's identity, restricted to the execution of the task.

        Raises:
            TokenRefused: The token is forged or has expired, or its execution or node has ended.
        """
        try:
            return await self._verified(token)
        except TokenRefused as refusal:
            log_refusal(_KIND, refusal, signed=refusal.claim == "execution")
            raise

    def recent(self, token: str, public_url: str) -> Identity | None:
        """Return None: the end of an execution must be seen at once, so each call reads its phase."""
        return None

    async def _verified(self, token: str) -> Identity:
        claims = self._claims(token)
        grant = TaskGrant(
            claims["project"], claims["domain"], claims["execution"], claims["node"], claims["execution_identity"]
        )
        await self._check_running(grant)
        return Identity(
            subject=claims["sub"],
            scopes=frozenset({ALL}),
            user=UserInfo(subject=claims["sub"]),
            method="task",
            expires_at=float(claims["exp"]),
            task=grant,
        )

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._key, algorithms=[_ALGORITHM], options={"require": ["exp", "iat", "sub"]}
            )
        except jwt.InvalidTokenError as error:
            expired = isinstance(error, jwt.ExpiredSignatureError)
            wanted = "a time to come" if expired else "a token of this server"
            raise _refused(str(error), "exp" if expired else "signature", str(error), wanted) from error
        return claims

    async def _check_running(self, grant: TaskGrant) -> None:
        """Raise TokenRefused where the execution or the node of a task has ended."""
        async with self._database.unit_of_work() as db:
            row = await db.one(
                _PHASES,
                execution_project=grant.project,
                execution_domain=grant.domain,
                execution_name=grant.execution,
                node=grant.node,
            )
        if row is None:
            raise _refused(
                f"execution {grant.execution} does not exist", "execution", grant.execution, "an execution that runs"
            )
        for name, phase in ((f"execution {grant.execution}", row.execution), (f"node {grant.node}", row.node)):
            if phase in _ENDS:
                raise _refused(f"{name} has ended ({phase})", "execution", f"{name}, {phase}", "a node that runs")


def _refused(reason: str, claim: str, found: str, wanted: str) -> TokenRefused:
    return TokenRefused(f"{_KIND} refused: {reason}", claim=claim, found=found, wanted=wanted)
