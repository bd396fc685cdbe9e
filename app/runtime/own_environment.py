"""Hide the environment of this server's processes from other processes of the same user, such as tasks.

/proc/<pid>/environ shows the environment with which a process was started. So the server overwrites that block of
memory, and starts its own processes without secrets in theirs. Two limits remain: root can read the memory of a
process, and on macOS nothing can be hidden.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase

from app.settings.engine import PASSED_VARIABLES
from app.settings.secrets import environment_secrets, is_secret_name
from app.system import PORTABLE, system

# Variables that Python, an installer of packages, and the programs that they start need.
_NEEDED = (
    *(*PASSED_VARIABLES, "PYTHON*", "PIP_*", "UV_*", "VIRTUAL_ENV", "LD_*", "TMPDIR", "TERM", "XDG_*", "DYLD_*"),
    # Read at the import of app.system, before give().
    PORTABLE,
)


def hide() -> None:
    """Overwrite the environment block of this process, and close its memory to other processes but root's.

    os.environ and getenv() keep all values. Core dumps and debuggers of the same user no longer work.
    """
    system.hide_environment()


def harmless(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that a child process needs and may show, without secrets."""
    secrets = [secret for secret in environment_secrets(environ) if secret]
    return {
        name: value
        for name, value in environ.items()
        if any(fnmatchcase(name, pattern) for pattern in _NEEDED)
        and not is_secret_name(name)
        and not any(secret in value for secret in secrets)
    }


def of_installer(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of an installer of packages, with the passwords of an index or a proxy."""
    own = ("PIP_*", "UV_*", "*_proxy", "*_PROXY")
    needed = {name: value for name, value in environ.items() if any(fnmatchcase(name, one) for one in own)}
    # PYTHON* variables of this server would affect the environment that is being made.
    return {name: value for name, value in {**harmless(environ), **needed}.items() if not name.startswith("PYTHON")}


def take() -> dict[str, str]:
    """Remove all but the harmless variables from os.environ and return them, for give() in a child process."""
    kept = harmless()
    taken = {name: value for name, value in os.environ.items() if name not in kept}
    for name in taken:
        del os.environ[name]
    return taken


def give(taken: Mapping[str, str]) -> None:
    """Set variables that the parent process removed with `take` and passed on outside of the environment block."""
    hide()
    os.environ.update(taken)
