"""Environments as pages and commands show them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.engine.local.processes.environments.installer import Installer
from app.engine.local.processes.environments.store import EnvironmentStore, Record
from app.settings import Settings


def store_of(settings: Settings) -> EnvironmentStore:
    """Return the environments of this machine, to list and to remove them."""
    seconds = settings.engine.local.environments.making_seconds_max
    return EnvironmentStore(settings.home_path / "envs", Installer(), seconds_max=seconds)


def view(record: Record, store: EnvironmentStore) -> dict[str, Any]:
    """Return an environment as JSON.

    `progress`: the last line of the installer while the environment is made. Times are null before they happen.
    """
    return {
        "id": record.key,
        "state": record.state,
        "python": record.python,
        "image": record.image,
        "requirements": list(record.requirements),
        "packages": list(record.packages),
        "size_bytes": record.size_bytes,
        "started_at": _time(record.started_at),
        "made_at": _time(record.made_at),
        "used_at": _time(record.used_at if record.state == "ready" else 0.0),
        "reason": record.reason,
        "progress": store.last_line(record.key) if record.state == "making" else "",
    }


def _time(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
