"""Callbacks for a descriptor that becomes readable, writable or broken, on every event loop.

`loop.add_reader` of uvloop calls back once for a socket that is readable and broken at the same time (data followed by
a reset), and never again: the reader does not see the end of the connection. On Linux the descriptor is therefore
registered in an epoll instance of its own, and the loop watches that instance. An epoll instance is readable as long
as any of its descriptors has an event and never reports an error itself, so the callback repeats until the data and
the error have been read.
"""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import Callable


class Readiness:
    """Calls `callback` whenever `descriptor` is readable or broken, and while `watch_writable(True)` holds, writable.

    Args:
        descriptor: A socket, pipe or pidfd. It must stay open until `close`.
        callback: Called on the event loop, again and again as long as the state lasts.
    """

    def __init__(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._writable = False
        self._epoll = select.epoll() if sys.platform == "linux" else None
        if self._epoll is None:
            self._loop.add_reader(descriptor, callback)
            return
        self._epoll.register(descriptor, select.EPOLLIN)
        self._loop.add_reader(self._epoll.fileno(), callback)

    def watch_writable(self, wanted: bool) -> None:
        """Begin or end the calls for a descriptor that can be written to."""
        if wanted == self._writable:
            return
        self._writable = wanted
        if self._epoll is not None:
            self._epoll.modify(self._descriptor, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))
        elif wanted:
            self._loop.add_writer(self._descriptor, self._callback)
        else:
            self._loop.remove_writer(self._descriptor)

    def close(self) -> None:
        """End the calls; the descriptor stays open."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            return
        self._loop.remove_reader(self._descriptor)
        if self._writable:
            self._loop.remove_writer(self._descriptor)
