"""Sections `auth.roles` and `auth.audit`: what signed-in callers may do, and the log of it. Upstream has neither."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from app.settings.values import Seconds, Section

RoleName = Literal["view", "run", "register", "admin"]

# A name, the start of names with `*` behind it, or `*` alone.
_PATTERN = re.compile(r"[^\s*/\x00-\x1f\x7f]{0,200}\*|[^\s*/\x00-\x1f\x7f]{1,200}")
PATTERN_RULE = "allowed is a name (flytesnacks), the start of names (team-*), or *"


def pattern(value: Any) -> str:
    """Return a pattern of projects or domains as it is. Raises ValueError for other text."""
    text = str(value)
    if not _PATTERN.fullmatch(text):
        raise ValueError(PATTERN_RULE)
    return text


def _level(value: Any) -> Any:
    # YAML reads the word off as false.
    return "off" if value is False else value


Pattern = Annotated[str, BeforeValidator(pattern)]


class RoleBinding(Section):
    """A role for some callers in some projects and domains."""

    role: RoleName = "view"
    """`view`, `run`, `register` or `admin`. Not upstream's."""

    project: Pattern = "*"
    """A project, the start of projects such as `team-*`, or `*`. Not upstream's."""

    domain: Pattern = "*"
    """A domain, the start of domains, or `*`. Not upstream's."""

    subjects: tuple[str, ...] = ()
    """User ids, client ids and verified e-mail addresses; `*` is every signed-in caller. Not upstream's."""

    claim_values: tuple[str, ...] = ()
    """Values of the claim that `auth.roles.claim` names. Not upstream's."""

    @model_validator(mode="after")
    def _has_members(self) -> "RoleBinding":
        if not self.subjects and not self.claim_values:
            raise ValueError("a binding needs subjects or claimValues")
        if "*" in self.claim_values or not all((*self.subjects, *self.claim_values)):
            raise ValueError("subjects and claimValues must not be empty, and * is allowed in subjects only")
        return self


class Roles(Section):
    """Roles of callers in projects and domains (docs/roles.md)."""

    enabled: bool = False
    """Whether a caller needs roles. Without them every caller may do everything, as with upstream. Not upstream's."""

    claim: str = "groups"
    """Claim of tokens whose values can have roles; a dotted path such as `realm_access.roles` is possible. Not
    upstream's."""

    admins: tuple[str, ...] = ()
    """User ids, client ids and verified e-mail addresses that have the role `admin` everywhere. Not upstream's."""

    bindings: tuple[RoleBinding, ...] = ()
    cache_seconds: Seconds = 10.0
    """Time after which a change of roles in the database has effect in every process, as a duration. Not
    upstream's."""

    rows_max: int = Field(default=10_000, ge=1)
    """Number of roles that the database may hold. Not upstream's."""

    claim_values_max: int = Field(default=1_000, ge=1)
    """Number of values of the claim that are looked at; a token with more has none of their roles. Not upstream's."""


class Audit(Section):
    """The audit log: who did what, where, and the outcome (docs/roles.md)."""

    level: Annotated[Literal["off", "denied", "writes", "all"], BeforeValidator(_level)] = "off"
    """`denied`: refusals. `writes`: also sign-ins, tokens, changes of roles, and calls that write. `all`: also calls
    that read. Not upstream's."""

    file: str = ""
    """Path of the file to which lines of JSON are appended; empty writes them to the log. Not upstream's."""
