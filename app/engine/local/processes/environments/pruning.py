"""Remove environments that nobody has used for long, or until the rest fits into a size."""

from __future__ import annotations

import time

from app.engine.local.processes.environments.store import EnvironmentStore, Record

# A task that is about to start has just recorded its use, and has no lock yet.
_IDLE_SECONDS_MIN = 600.0


def to_size(store: EnvironmentStore, bytes_max: int) -> list[Record]:
    """Remove the environments that were used longest ago, until the others have at most this size together.

    Environments in use, and those used in the last ten minutes, stay.
    """
    records = store.all()
    total = sum(record.size_bytes for record in records)
    removed = []
    for record in reversed(records):
        if total <= bytes_max:
            break
        if time.time() - record.used_at >= _IDLE_SECONDS_MIN and store.remove(record):
            total -= record.size_bytes
            removed.append(record)
    return removed


def unused(store: EnvironmentStore, seconds: float) -> list[Record]:
    """Remove the environments that were not used for so long, and those that could not be made."""
    now = time.time()
    chosen = [record for record in store.all() if record.state == "failed" or now - record.used_at >= seconds]
    return [record for record in chosen if store.remove(record)]
