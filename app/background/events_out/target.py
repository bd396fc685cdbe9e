"""The target of the outbox that publishes events: makes the message of a stored event and passes it to a publisher."""

from __future__ import annotations

from typing import Any, Protocol

import structlog

from app.background.events_out import envelopes, wrappers
from app.background.events_out.publisher import Message, Publisher
from app.background.outbox.targets import Away, Backoff, Delivery, TryAgain
from app.database.base import Database

# After so many failures in a row, without one success in between, the receiver counts as away.
FAILURES_MAX = 3

log = structlog.get_logger(__name__)


class Envelope(Protocol):
    """Makes the message of a stored event."""

    async def message(self, delivery: Delivery, request: Any) -> Message:
        """Return the message about a request. Raises MessageRefused where there cannot be one."""


class RawEnvelope:
    """The form of `externalEvents`: the request as protobuf."""

    async def message(self, delivery: Delivery, request: Any) -> Message:
        """Return the request's bytes."""
        key = envelopes.key_of(delivery.kind)
        return Message(delivery.delivery_id, key, "/".join(delivery.execution), delivery.content)


class CloudEventEnvelope:
    """The forms of `cloudEvents`.

    Args:
        database: Holds the details of version v2.
        version: v1 or v2.
        enrich_all: `eventsPublisher.enrichAllWorkflowEventTypes`.
    """

    def __init__(self, database: Database, version: str, *, enrich_all: bool) -> None:
        self._database = database
        self._version = version
        self._enrich_all = enrich_all

    async def message(self, delivery: Delivery, request: Any) -> Message:
        """Return a CloudEvent about the request."""
        kind = delivery.kind
        if self._version == "v1":
            key, event = envelopes.key_of(kind), envelopes.cloud_event_v1(kind, request)
        else:
            async with self._database.unit_of_work() as unit:
                wrapper = await wrappers.wrapper_of(unit, kind, request.event, enrich_all=self._enrich_all)
            key, event = envelopes.wrapped_key_of(kind), envelopes.cloud_event_v2(kind, request, wrapper)
        order = "/".join(delivery.execution)
        return Message(delivery.delivery_id, key, order, event.protobuf(), event)


class EventTarget:
    """Publishes the events of one section of the settings.

    An event that the receiver cannot take, while it takes others, fails after the attempts of `backoff`. While a
    receiver fails for every event, none of the attempts counts: events wait until `outbox.undeliveredSeconds`.

    Args:
        name: The name of the target.
        envelope: Makes the messages.
        publisher: Publishes them.
    """

    ordered = True
    backoff = Backoff(first_seconds=1.0, most_seconds=300.0, attempts=10)

    def __init__(self, name: str, envelope: Envelope, publisher: Publisher) -> None:
        self.name = name
        self._envelope = envelope
        self._publisher = publisher
        self._failures = 0

    async def open(self) -> None:
        """Open the publisher."""
        await self._publisher.open()

    async def check(self) -> str:
        """Return why the receiver cannot be used, "" where it can."""
        return await self._publisher.check()

    async def deliver(self, delivery: Delivery) -> str:
        """Publish an event and return the receiver's acknowledgement.

        Raises:
            MessageRefused: There is no message about the event, or the receiver will never take it.
            TryAgain: The receiver failed for this event.
            Away: The receiver cannot be reached, or failed for every event of late.
        """
        request = envelopes.REQUESTS[delivery.kind].FromString(delivery.content)
        message = await self._envelope.message(delivery, request)
        try:
            reply = await self._publisher.publish(message)
        except TryAgain as error:
            self._failures += 1
            if self._failures >= FAILURES_MAX:
                raise Away(str(error)) from error
            raise
        self._failures = 0
        return reply

    async def close(self) -> None:
        """Close the publisher."""
        await self._publisher.close()
