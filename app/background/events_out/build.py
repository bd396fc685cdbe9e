"""Makes the targets of `externalEvents` and `cloudEvents` of the settings."""

from __future__ import annotations

import structlog

from app.background.events_out import envelopes
from app.background.events_out.envelopes import EventFilter
from app.background.events_out.publisher import Publisher
from app.background.events_out.target import CloudEventEnvelope, EventTarget, RawEnvelope
from app.background.events_out.writer import EventsWriter
from app.runtime.dispatch import Server
from app.settings import BadSetting, Settings
from app.settings.events_out import CloudEvents, EventsAws, EventsGcp, ExternalEvents

EXTERNAL, CLOUD = "external_events", "cloud_events"
# Types that publish nothing, as upstream.
_SILENT = ("", "local", "sandbox")

log = structlog.get_logger(__name__)


def targets_of(server: Server) -> list[EventTarget]:
    """Return the targets that the settings enable, and let accepted events be written for them.

    Raises:
        BadSetting: A setting is missing or unusable, or an extra is not installed.
    """
    made = []
    external, cloud = server.settings.external_events, server.settings.cloud_events
    if external.enable and (publisher := _external_publisher(server.settings)) is not None:
        made.append(EventTarget(EXTERNAL, RawEnvelope(), publisher))
    if cloud.enable and (publisher := _cloud_publisher(server.settings)) is not None:
        enrich_all = cloud.events_publisher.enrich_all_workflow_event_types
        envelope = CloudEventEnvelope(server.database, cloud.cloud_event_version, enrich_all=enrich_all)
        made.append(EventTarget(CLOUD, envelope, publisher))
    write_events(server)
    return made


def enabled(settings: Settings) -> set[str]:
    """Return the names of the targets that the settings enable."""
    sections: dict[str, ExternalEvents | CloudEvents] = {
        EXTERNAL: settings.external_events,
        CLOUD: settings.cloud_events,
    }
    return {name for name, section in sections.items() if section.enable and section.type.lower() not in _SILENT}


def write_events(server: Server) -> None:
    """Let the events that a process accepts be written for the targets of the settings, whoever delivers them.

    Raises:
        BadSetting: A kind of event is unknown.
    """
    external, cloud = server.settings.external_events, server.settings.cloud_events
    names, filters = enabled(server.settings), {}
    if EXTERNAL in names:
        filters[EXTERNAL] = _filter("externalEvents", external.events_publisher.event_types)
    if CLOUD in names:
        if cloud.cloud_event_version == "v1":
            filters[CLOUD] = _filter("cloudEvents", cloud.events_publisher.event_types)
        else:
            # Parity: version v2 publishes every kind.
            filters[CLOUD] = EventFilter(frozenset(envelopes.REQUESTS))
    if filters:
        server.outgoing.writers.append(EventsWriter(filters))


def _external_publisher(settings: Settings) -> Publisher | None:
    section = settings.external_events
    # Parity: case matters in this section only.
    found = _cloud_service(section, section.type, "externalEvents")
    if found is None:
        _warn_of_silence("externalEvents", section.type, "aws, gcp, local")
    return found


def _cloud_publisher(settings: Settings) -> Publisher | None:
    section, kind = settings.cloud_events, settings.cloud_events.type.lower()
    topic = section.events_publisher.topic_name
    # Only what is used is imported: some libraries take long.
    match kind:
        case "kafka":
            from app.background.events_out.kafka import KafkaPublisher

            return KafkaPublisher(section.kafka, topic)
        case "nats":
            from app.background.events_out.nats import NatsPublisher

            return NatsPublisher(section.nats, topic)
        case "http":
            from app.background.events_out.http import HttpPublisher

            return HttpPublisher(section.http, settings.outbox.allowed_networks, settings.outbox.deliveries_max)
    found = _cloud_service(section, kind, "cloudEvents")
    if found is None:
        _warn_of_silence("cloudEvents", kind, "aws, gcp, kafka, nats, http, local, sandbox")
    return found


def _cloud_service(section: ExternalEvents | CloudEvents, kind: str, name: str) -> Publisher | None:
    """Return the publisher of the types that both sections have."""
    topic = section.events_publisher.topic_name
    match kind:
        case "aws":
            return _sns(topic, section.aws, name)
        case "gcp":
            return _pubsub(topic, section.gcp, name)
    return None


def _sns(topic: str, place: EventsAws, name: str) -> Publisher:
    from app.background.events_out.sns import SnsPublisher

    return SnsPublisher(topic, place.region, name)


def _pubsub(topic: str, place: EventsGcp, name: str) -> Publisher:
    from app.background.events_out.pubsub import PubSubPublisher

    return PubSubPublisher(topic, place.project_id, name)


def _warn_of_silence(section: str, kind: str, allowed: str) -> None:
    """Log that a section publishes nothing.

    Deviates: upstream publishes nothing for an unknown type too, and only logs its settings.

    Raises:
        BadSetting: The type is unknown.
    """
    if kind.lower() not in _SILENT:
        raise BadSetting(f"{section}.type={kind!r} is no kind of service; allowed: {allowed}")
    log.warning(
        "no_events_are_published", setting=f"{section}.enable", reason=f"{section}.type={kind}", allowed=allowed
    )


def _filter(section: str, event_types: tuple[str, ...]) -> EventFilter:
    """Return the filter of a section.

    Raises:
        BadSetting: A kind is unknown. Deviates: `externalEvents` of upstream only logs it.
    """
    chosen = EventFilter.of(event_types)
    if chosen.unknown:
        names, allowed = ", ".join(chosen.unknown), ", ".join((*envelopes.REQUESTS, *envelopes.ALL))
        raise BadSetting(f"{section}.eventsPublisher.eventTypes has unknown kinds: {names}; allowed: {allowed}")
    if not chosen.kinds:
        log.warning(
            "no_events_are_published", setting=f"{section}.enable", reason="eventsPublisher.eventTypes is empty"
        )
    return chosen
