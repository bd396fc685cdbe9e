"""Events out: publish the events of executions, nodes and attempts to other systems.

The settings are in the sections `externalEvents` and `cloudEvents`.

writer: writes accepted events into the outbox, in their transaction.
target: takes events from the outbox and publishes them; one target for each of the two sections.
envelopes, wrappers: what is published, as upstream publishes it.
sns, pubsub, kafka, nats, http: how it is published.

docs/events.md describes the messages and what a receiver can rely on.
"""
