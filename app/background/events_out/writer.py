"""Writes accepted events into the outbox, one message for each section that publishes them."""

from __future__ import annotations

from collections.abc import Mapping

from app.background.events_out.envelopes import EventFilter
from app.runtime.context import Context
from app.runtime.outgoing import RecordedEvent
from app.services import outbox


class EventsWriter:
    """The `EventWriter` of `externalEvents` and `cloudEvents`.

    Args:
        filters: The kinds of events of each target, by the name of the target.

    Attributes:
        kinds: The kinds of all targets.
    """

    def __init__(self, filters: Mapping[str, EventFilter]) -> None:
        self._targets = {
            kind: tuple(name for name, chosen in filters.items() if kind in chosen.kinds)
            for kind in ("workflow", "node", "task")
        }
        self.kinds = frozenset(kind for kind, names in self._targets.items() if names)

    async def write(self, ctx: Context, event: RecordedEvent) -> None:
        """Write the messages of an event.

        Parity: the first event of an attempt is not published.
        """
        if event.kind == "task" and event.first:
            return
        content = event.request.SerializeToString(deterministic=True)
        for target in self._targets[event.kind]:
            await outbox.put(
                ctx, target=target, kind=event.kind, execution=event.execution, content=content, ordered=True
            )
