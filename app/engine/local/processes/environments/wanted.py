"""The contents of an environment of tasks. Environments of equal contents are one environment."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field

from app.engine.local.processes.environments.installer import Sources, own_version

_DIGEST_LENGTH = 16
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_ADDRESS_PASSWORD = re.compile(r"(?<=//)[^/@\s]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The contents of an environment.

    Attributes:
        python: The version of Python, or the path of an interpreter; "" for the version of this server.
        requirements: Lines of a requirements file.
        sources: Where packages come from.
    """

    python: str = ""
    requirements: tuple[str, ...] = ()
    sources: Sources = field(default_factory=Sources)

    @property
    def key(self) -> str:
        """Return the name of the folder: a digest of the contents."""
        made_of = {**asdict(self), "python": self.python or own_version(), "form": 1}
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:_DIGEST_LENGTH]

    @property
    def shown(self) -> tuple[str, ...]:
        """Return the requirements without passwords in addresses."""
        return without_passwords(self.requirements)


def without_passwords(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return lines without the names and passwords in addresses."""
    return tuple(_ADDRESS_PASSWORD.sub("", line) for line in lines)


def with_flytekit(requirements: tuple[str, ...], flytekit: tuple[str, ...]) -> tuple[str, ...]:
    """Return requirements that name flytekit: with these further ones if they do not."""
    if any(distribution_name(line) == "flytekit" for line in requirements):
        return requirements
    return (*requirements, *flytekit)


def distribution_name(requirement: str) -> str:
    """Return the normalized name of the distribution in a requirement, "" for a line that begins with none."""
    match = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""
