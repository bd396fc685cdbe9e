"""Notices about changed rows: within a process directly, on PostgreSQL between processes too.

A service that keeps rows in memory subscribes to a topic. A writer announces the topic in its transaction
(`Context.announce`), and the subscribers run after the commit. Notices can be lost, so a subscriber also looks at the
rows from time to time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

# The rows of schedulable_entities.
SCHEDULES = "schedules"


@dataclass(slots=True)
class Changes:
    """The subscribers of a process.

    Attributes:
        listening: Whether notices of other processes arrive. Subscribers look at the rows less often then.
    """

    listening: bool = False
    _subscribers: dict[str, list[Callable[[], None]]] = field(default_factory=dict)

    def subscribe(self, topic: str, callback: Callable[[], None]) -> None:
        """Call a function after changes of a topic, on the event loop. It must return at once."""
        self._subscribers.setdefault(topic, []).append(callback)

    def notify(self, topic: str) -> None:
        """Call the subscribers of a topic in this process; a topic without subscribers is ignored."""
        for callback in self._subscribers.get(topic, ()):
            callback()

    def notify_all(self) -> None:
        """Call all subscribers, because notices may have been lost."""
        for topic in self._subscribers:
            self.notify(topic)
