"""The command of this program as messages print it, so that a user can copy the line."""

from __future__ import annotations

import os
import shlex
import shutil
import sys

NAME = "flyteadmin"


def program() -> str:
    """Return "flyteadmin" if the shell finds this program by that name, else the path by which it was called."""
    called = sys.argv[0]
    if os.path.basename(called) != NAME or not os.path.exists(called):
        return NAME
    found = shutil.which(NAME)
    return NAME if found is not None and os.path.samefile(found, called) else shlex.quote(called)
