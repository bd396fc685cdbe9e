"""Settings of upstream that this version accepts without effect.

tests/settings/test_support.py keeps the table complete: each setting is read by some code or stands in it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from app.settings.keys import FieldPath, Origin, written_in
from app.settings.tree import Settings

_REPEATED = "messages are sent again until outbox.undeliveredSeconds have passed"
_NO_QUEUE = "this server fires schedules from its database, not from a queue of AWS"

# The path of a field, or of a section for all fields in it, and the reason.
WITHOUT_EFFECT: Mapping[str, str] = {
    "cloud_events.kafka.sasl_config.handshake": "librdkafka sends the handshake where brokers take it",
    "cloud_events.kafka.version": "librdkafka asks the brokers for their version",
    "cloud_events.reconnect_attempts": _REPEATED,
    "cloud_events.reconnect_delay_seconds": _REPEATED,
    "database.conn_max_life_time_seconds": "a connection stays open until the database ends it",
    "database.enable_foreign_key_constraint_when_migrating": "the schema has no foreign keys",
    "database.max_idle_connections": "unused connections stay open",
    "database.postgres.debug": "logger.level=debug logs statements",
    "database.postgres.read_replica_host": "every statement is sent to database.postgres.host",
    "external_events.reconnect_attempts": _REPEATED,
    "external_events.reconnect_delay_seconds": _REPEATED,
    "flyteadmin.async_events_buffer_size": "events are stored with what they change, not in a buffer",
    "flyteadmin.feature_gates": "this version has no artifacts",
    "flyteadmin.metrics_keys": "the metrics of this server have fixed labels",
    "notifications.reconnect_attempts": _REPEATED,
    "notifications.reconnect_delay_seconds": _REPEATED,
    **{
        f"plugins.{section}.web_api.{name}": "calls are limited by webApi.readRateLimiter and webApi.caching.workers"
        for section in ("connector_service", "agent_service")
        for name in ("caching.size", "write_rate_limiter", "resource_quotas", "resource_constraints")
    },
    "quality_of_service": "no engine of this version delays executions by tier",
    "remote_data.region": "storage.connection.region is the region of the bucket",
    "remote_data.signed_urls.signing_principal": "addresses are signed with the credentials of the storage",
    "scheduler.event_scheduler": "schedules are stored in the database only",
    "scheduler.profiler_port": "the scheduler's metrics are served with those of the server",
    "scheduler.reconnect_attempts": _NO_QUEUE,
    "scheduler.reconnect_delay_seconds": _NO_QUEUE,
    "scheduler.workflow_executor.account_id": _NO_QUEUE,
    "scheduler.workflow_executor.aws": _NO_QUEUE,
    "scheduler.workflow_executor.local.admin_rate_limit": "scheduler.launchesMax and scheduler.catchUpRate limit it",
    "scheduler.workflow_executor.region": _NO_QUEUE,
    "scheduler.workflow_executor.schedule_queue_name": _NO_QUEUE,
    "scheduler.workflow_executor.scheme": _NO_QUEUE,
    "server.grpc.enable_grpc_latency_metrics": "the times of all RPCs are exported anyway",
    "server.grpc.max_concurrent_streams": "the HTTP/2 library limits the streams of a connection",
    "storage.cache": "limits.keptClosureBytesMax and limits.keptJsonBytesMax are the sizes of the caches",
    "storage.default_http_client": "the client of the object store has its own headers and timeouts",
}
# A setting with one of these values asks for nothing, so no warning is needed.
_ASKS_FOR_NOTHING: tuple[Any, ...] = (None, False, 0, "", "local", "none", (), {})


def without_effect(path: str) -> str:
    """Return why a setting has no effect, "" for one that has an effect.

    Args:
        path: The dotted path of the field, in snake case.
    """
    parts = path.split(".")
    prefixes = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return next((WITHOUT_EFFECT[prefix] for prefix in prefixes if prefix in WITHOUT_EFFECT), "")


def warnings(settings: Settings, origins: Mapping[FieldPath, Origin]) -> tuple[str, ...]:
    """Return one sentence for each source and reason, naming the keys that are set there and have no effect.

    Args:
        settings: The settings that were loaded.
        origins: The origin of each value that was given.
    """
    keys: dict[tuple[str, str], list[str]] = {}
    for path, origin in origins.items():
        reason = without_effect(".".join(path))
        if reason and _value_at(settings, path) not in _ASKS_FOR_NOTHING:
            keys.setdefault((origin.source, reason), []).append(written_in(origin.source, origin.key))
    return tuple(
        f"{', '.join(names)} in {source} {'has' if len(names) == 1 else 'have'} no effect: {reason}"
        for (source, reason), names in keys.items()
    )


def check_served(settings: Settings) -> None:
    """Raise BadSetting where the address of the database or of the storage has an unknown form."""
    _ = settings.database_url, settings.storage_url


def _value_at(value: Any, path: Iterable[str]) -> Any:
    for part in path:
        if isinstance(value, Mapping):
            value = value[part]
        else:
            value = value[int(part)] if isinstance(value, tuple) else getattr(value, part)
    return value
