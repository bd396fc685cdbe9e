"""Requests to the operating system that are not the same everywhere: processes, memory, descriptors.

`interface.System` lists them. `linux.py` needs /proc and prctl; `portable.py` needs psutil and runs on every POSIX
system. `system` is the one that this machine can use, found by what the machine has, not by its name. The variable
FLYTEADMIN_PORTABLE=1 chooses the portable one on Linux too, to test it there. docs/local-engine.md lists what differs.

Fork servers import this package in the interpreter of the tasks. So it imports only the standard library and, for the
portable twin, psutil. tests/test_tidy.py asserts that no other package of the server makes such requests.
"""

from __future__ import annotations

import os

from app.system.interface import System

# "1" or "0"; without it the machine is examined.
PORTABLE = "FLYTEADMIN_PORTABLE"


def _choose() -> System:
    from app.system import linux

    wanted = os.environ.get(PORTABLE, "")
    if wanted == "0" or (wanted != "1" and linux.is_possible()):
        return linux.Linux()
    from app.system.portable import Portable

    return Portable()


system = _choose()
