"""Callbacks for a descriptor that is readable, writable or broken, the same on every event loop.

Problem: `loop.add_reader` of uvloop calls back only once for a socket that is readable and broken at the same time
(data followed by a reset). The reader then never sees the end of the connection.

Solution: where there is epoll, the descriptor is registered in an epoll instance of its own, and the loop watches that
instance. An epoll instance stays readable as long as one of its descriptors has an event, and it never reports an error
itself. So the callback repeats until data and error have been read. Without epoll the descriptor is polled after each
callback, and the callback repeats while there is something to read.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

from app.system import system


class SocketEvents:
    """Calls `callback` while `descriptor` is readable or broken, and while it is writable if `watch_writable(True)`.

    Args:
        descriptor: A socket, pipe or pidfd. It must stay open until `close`.
        callback: Called on the event loop, repeatedly while the state lasts.
    """

    def __init__(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._writable = False
        self._epoll = None if system.is_portable else select.epoll()
        self._again: asyncio.Handle | None = None
        if self._epoll is None:
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)
            self._loop.add_reader(descriptor, self._call)
            return
        self._epoll.register(descriptor, select.EPOLLIN)
        self._loop.add_reader(self._epoll.fileno(), callback)

    def watch_writable(self, wanted: bool) -> None:
        """Start or stop the callbacks for a writable descriptor."""
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
        """Stop all callbacks; the descriptor stays open."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            return
        if self._again is not None:
            self._again.cancel()
        self._poll.unregister(self._descriptor)
        self._loop.remove_reader(self._descriptor)
        if self._writable:
            self._loop.remove_writer(self._descriptor)

    def _call(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._again = self._loop.call_soon(self._repeat)
        self._callback()

    def _repeat(self) -> None:
        self._again = None
        if self._poll.poll(0):
            self._call()
