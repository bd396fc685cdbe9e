"""Limits of attempts in a minute, in one process."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict

_KEYS_MAX = 10_000
_MINUTE = 60.0

Key = tuple[str, str]


class MinuteLimit:
    """Counts attempts by a key, such as a client and an address, in a window of a minute. Bounded in size.

    Args:
        most: Attempts in a window; from then on `seconds_left` is positive.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._windows: OrderedDict[Key, tuple[float, int]] = OrderedDict()

    def seconds_left(self, key: Key) -> float:
        """Return the time until the next attempt is allowed; 0 where it is allowed now."""
        started, count = self._windows.get(key, (0.0, 0))
        return max(0.0, started + _MINUTE - time.monotonic()) if count >= self._most else 0.0

    def add(self, key: Key) -> None:
        """Count an attempt."""
        now = time.monotonic()
        started, count = self._windows.pop(key, (now, 0))
        if now - started >= _MINUTE:
            started, count = now, 0
        self._windows[key] = (started, count + 1)
        if len(self._windows) > _KEYS_MAX:
            self._windows.popitem(last=False)

    def take_back(self, key: Key) -> None:
        """Count one attempt less in the window that runs."""
        if key in self._windows:
            started, count = self._windows[key]
            self._windows[key] = (started, max(0, count - 1))


def network_of(address: str) -> str:
    """Return the address that attempts are counted for: an IPv6 host has a /64 of addresses."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else address
