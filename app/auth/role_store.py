"""Bindings of roles from settings and from the table auth_roles, and the permissions of callers by them.

Every process reads the table again when its copy is older than `auth.roles.cache`, so a change has effect in
all processes after that time. The process that makes a change reads the table at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from sqlalchemy import Select, bindparam, func, literal, select
from sqlalchemy.engine.interfaces import Dialect

from app import errors
from app.auth.identity import Identity
from app.auth.roles import ANY, BY_NAME, NONE, CallerRole, Member, MemberRole, Permissions, Role
from app.database import schema
from app.database.auth_tables import AuthRole
from app.database.base import Database, UnitOfWork
from app.database.statements import Statement
from app.settings import Settings
from app.settings.roles import PATTERN_RULE, pattern

log = structlog.get_logger(__name__)

# Callers whose permissions are remembered; then remembering starts anew.
_CALLERS_MAX = 1000
_MEMBER_CHARACTERS_MAX = 1000
_LAST = "this is the last administrator; grant admin on */* to another subject first, or set auth.roles.admins"

_TABLE = schema.table(AuthRole)
_KEY = ("role", "project", "domain", "member_kind", "member")
_ROWS = Statement(select(*(_TABLE.c[name] for name in _KEY)).order_by(_TABLE.c.id).limit(bindparam("most")))
_COUNT = Statement(select(func.count().label("rows")).select_from(_TABLE))
_ADMINS = Statement(
    select(func.count().label("rows"))
    .select_from(_TABLE)
    .where(
        _TABLE.c.role == literal(Role.ADMIN.text),
        _TABLE.c.project == literal(ANY),
        _TABLE.c.domain == literal(ANY),
        _TABLE.c.member_kind == literal("subject"),
    )
)


def _lock(dialect: Dialect) -> Select[Any]:
    if dialect.name == "postgresql":
        key = func.hashtextextended(literal("auth_roles"), 0)
        return select(func.pg_advisory_xact_lock(key).label("locked"))
    # On SQLite the transaction has locked the database.
    return select(literal(1).label("locked"))


_LOCK = Statement(_lock)


class Roles:
    """The permissions of callers. One object per process; it exists where `auth.roles.enabled` is true."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._roles = settings.auth.roles
        self._database = database
        self._configured = tuple(configured_bindings(settings))
        self._by_member: dict[tuple[str, str], list[CallerRole]] = _by_member(self._configured)
        self._read_at: float | None = None
        self._reading = asyncio.Lock()
        self._callers: dict[Member, Permissions] = {}
        # A verified token has one Identity while it is remembered, so most calls need not compare its claims.
        self._identities: dict[int, tuple[Identity, Permissions]] = {}

    @property
    def stale(self) -> bool:
        """Return whether the bindings must be read again before the next decision."""
        return self._read_at is None or time.monotonic() - self._read_at > self._roles.cache_seconds

    async def permissions(self, identity: Identity) -> Permissions:
        """Return the permissions of a caller.

        Raises:
            FlyteError: The database cannot be read.
        """
        if self.stale:
            await self.read()
        return self.known_permissions(identity)

    def known_permissions(self, identity: Identity) -> Permissions:
        """Return the permissions of a caller by the bindings that were read last."""
        known = self._identities.get(id(identity))
        if known is not None and known[0] is identity:
            return known[1]
        found = self._permissions_of(Member.of(identity, self._roles.claim, self._roles.claim_values_max))
        if len(self._identities) >= _CALLERS_MAX:
            self._identities.clear()
        self._identities[id(identity)] = identity, found
        return found

    async def permissions_of(self, member: Member) -> Permissions:
        """Return the permissions of the names of a caller.

        Raises:
            FlyteError: The database cannot be read.
        """
        if self.stale:
            await self.read()
        return self._permissions_of(member)

    def _permissions_of(self, member: Member) -> Permissions:
        found = self._callers.get(member)
        if found is None:
            keys = [*(("subject", one) for one in member.subjects), *(("claim", one) for one in member.values)]
            grants = [grant for key in keys for grant in self._by_member.get(key, ())]
            found = Permissions(grants) if grants else NONE
            if len(self._callers) >= _CALLERS_MAX:
                self._callers.clear()
            self._callers[member] = found
        return found

    async def read(self, *, at_once: bool = False) -> None:
        """Read the table again, once for all calls that wait.

        Args:
            at_once: Whether to read it even where the copy is young.
        """
        async with self._reading:
            if not self.stale and not at_once:
                return
            started = time.monotonic()
            async with self._database.unit_of_work() as unit:
                bindings = await read_bindings(unit, self._roles.rows_max + 1)
            if len(bindings) > self._roles.rows_max:
                raise errors.ResourceExhausted(
                    f"the table auth_roles has more than {self._roles.rows_max} rows (auth.roles.rowsMax)"
                )
            self._by_member = _by_member((*self._configured, *bindings))
            self._callers, self._identities = {}, {}
            self._read_at = started
            if not any(is_administrator(one) for one in (*self._configured, *bindings)):
                log.warning("no_administrator", remedy="flyteadmin auth admin add SUBJECT, or auth.roles.admins")


def _by_member(bindings: Iterable[MemberRole]) -> dict[tuple[str, str], list[CallerRole]]:
    found: dict[tuple[str, str], list[CallerRole]] = {}
    for role, project, domain, kind, member in bindings:
        found.setdefault((kind, member), []).append(CallerRole(role, project, domain))
    return found


def configured_bindings(settings: Settings) -> list[MemberRole]:
    """Return the bindings of the settings."""
    section = settings.auth.roles
    found = [MemberRole(Role.ADMIN, ANY, ANY, "subject", admin) for admin in section.admins]
    for one in section.bindings:
        role = BY_NAME[one.role]
        found += [MemberRole(role, one.project, one.domain, "subject", member) for member in one.subjects]
        found += [MemberRole(role, one.project, one.domain, "claim", member) for member in one.claim_values]
    return found


def claims_of_roles(settings: Settings) -> tuple[str, ...]:
    """Return the claims of a sign-in on which roles depend, which tokens of the own authorization server repeat."""
    section = settings.auth.roles
    if not section.enabled:
        return ()
    return tuple(dict.fromkeys((section.claim, section.claim.partition(".")[0], "email_verified")))


def is_administrator(binding: MemberRole) -> bool:
    """Return whether a binding makes a subject an administrator. A claim may have no values, so it does not count."""
    return binding[:4] == (Role.ADMIN, ANY, ANY, "subject")


async def read_bindings(unit: UnitOfWork, most: int) -> list[MemberRole]:
    """Return the bindings of the table, the oldest first; rows of roles that this version lacks are left out."""
    rows = await unit.all(_ROWS, most=most)
    return [
        MemberRole(BY_NAME[row.role], row.project, row.domain, row.member_kind, row.member)
        for row in rows
        if row.role in BY_NAME and row.member_kind in ("subject", "claim")
    ]


def binding_of(role: str, project: str, domain: str, kind: str, member: str) -> MemberRole:
    """Return the binding that these texts describe.

    Raises:
        InvalidArgument: A part is wrong; the message names it.
    """
    if role not in BY_NAME:
        raise errors.InvalidArgument(f"role [{role}] is unknown; allowed: {', '.join(BY_NAME)}")
    for name, text in (("project", project), ("domain", domain)):
        try:
            pattern(text)
        except ValueError as error:
            raise errors.InvalidArgument(f"{name} [{text}] is no pattern; {PATTERN_RULE}") from error
    if kind not in ("subject", "claim"):
        raise errors.InvalidArgument(f"member_kind [{kind}] is unknown; allowed: subject, claim")
    wrong = not member or len(member) > _MEMBER_CHARACTERS_MAX or not member.isprintable() or member != member.strip()
    if wrong or (kind == "claim" and member == ANY):
        raise errors.InvalidArgument(
            f"member must have 1 to {_MEMBER_CHARACTERS_MAX} printable characters, and * is allowed for subjects only"
        )
    return MemberRole(BY_NAME[role], project, domain, kind, member)  # type: ignore[arg-type]


def _row(binding: MemberRole) -> dict[str, Any]:
    return dict(zip(_KEY, (binding.role.text, *binding[1:]), strict=True))


async def grant(unit: UnitOfWork, binding: MemberRole, *, by: str, rows_max: int) -> bool:
    """Store a binding; return whether it is new.

    Args:
        unit: The unit of work, which the caller commits.
        binding: The binding.
        by: Who grants it.
        rows_max: The setting `auth.roles.rowsMax`.

    Raises:
        ResourceExhausted: The table is full.
    """
    await unit.begin()
    await unit.one(_LOCK)
    counted = await unit.one(_COUNT)
    if counted is not None and counted.rows >= rows_max:
        raise errors.ResourceExhausted(f"there are {rows_max} roles already (auth.roles.rowsMax)")
    return await unit.insert_if_absent(AuthRole, **_row(binding), created_by=by) is not None


async def revoke(unit: UnitOfWork, binding: MemberRole, configured: Sequence[MemberRole]) -> None:
    """Delete a binding.

    Args:
        unit: The unit of work, which the caller commits.
        binding: The binding.
        configured: The bindings of the settings.

    Raises:
        NotFound: The table does not have the binding.
        FailedPrecondition: The binding is that of the last administrator.
    """
    await unit.begin()
    await unit.one(_LOCK)
    if await unit.find(AuthRole, columns=("id",), **_row(binding)) is None:
        raise errors.NotFound(f"no such role: {shown(binding)}")
    if is_administrator(binding) and not any(map(is_administrator, configured)):
        counted = await unit.one(_ADMINS)
        if counted is not None and counted.rows <= 1:
            raise errors.FailedPrecondition(_LAST)
    await unit.delete(AuthRole, **_row(binding))


def shown(binding: MemberRole) -> str:
    """Return a binding as text, such as `run on flytesnacks/development for subject alice`."""
    return f"{binding.role.text} on {binding.project}/{binding.domain} for {binding.kind} {binding.member}"
