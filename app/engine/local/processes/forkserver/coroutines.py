"""Changes the event loops of flytekit for forked tasks.

Flytekit has a thread with an event loop for its coroutines, which takes a twentieth of the CPU time of a short task.
Another loop, for connectors that a task calls, would be shared by all tasks of a fork server.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

# The coroutines of these modules copy files and convert values, and leave nothing behind that has to run on.
# Coroutines of users may.
_MODULES = frozenset(("flytekit.core.base_task", "flytekit.core.data_persistence", "flytekit.core.type_engine"))


def run_in_main_thread() -> None:
    """Change how flytekit runs the coroutines of these modules."""
    kind: Any = getattr(sys.modules.get("flytekit.utils.asyn"), "_TaskRunner", None)
    if not hasattr(kind, "run") or not hasattr(kind, "get_exc_handler"):
        return
    original = kind.run

    def run(self: Any, coroutine: Any) -> Any:
        frame = getattr(coroutine, "cr_frame", None)
        known = frame is not None and frame.f_globals.get("__name__") in _MODULES
        in_main = threading.current_thread() is threading.main_thread()
        if not known or not in_main or asyncio._get_running_loop() is not None:
            return original(self, coroutine)
        # Connections of a file system belong to the loop in which it was first used.
        loop = getattr(self, "loop_of_main_thread", None)
        if loop is None or not _has_open_descriptors(loop):
            # An unusable loop is kept: when it is deleted, it closes descriptors that may be those of other files.
            self.loops_with_closed_descriptors = (*getattr(self, "loops_with_closed_descriptors", ()), loop)
            loop = self.loop_of_main_thread = asyncio.new_event_loop()
            loop.set_exception_handler(self.get_exc_handler())
        return loop.run_until_complete(coroutine)

    kind.run = run


class LoopOnFirstUse:
    """An event loop that is made in the process that uses it first, with the interface of a loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def __getattr__(self, name: str) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return getattr(self._loop, name)


def close_connector_loop() -> None:
    """Close the loop that flytekit made for connectors at import; each task that needs one makes its own."""
    connectors: Any = sys.modules.get("flytekit.extend.backend.base_connector")
    if isinstance(getattr(connectors, "local_connector_loop", None), asyncio.AbstractEventLoop):
        connectors.local_connector_loop.close()
        connectors.local_connector_loop = LoopOnFirstUse()


def _has_open_descriptors(loop: Any) -> bool:
    """Return whether the descriptors of a loop are open. A task may have closed all of its process, as daemons do.

    Loops of another kind, such as uvloop's, have no selector in Python. Their descriptors count as open.
    """
    selector = getattr(loop, "_selector", None)
    try:
        if selector is not None:
            selector.select(0)
    except OSError:
        return False
    return True
