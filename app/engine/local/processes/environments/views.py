"""Environments as pages and commands show them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.engine.local.processes.environments.installer import Installer
from app.engine.local.processes.environments.store import DEFAULT, EnvironmentStore, Record, packages_in
from app.settings import Settings


def store_of(settings: Settings) -> EnvironmentStore:
    """Return the environments of this machine, to list and to remove them."""
    seconds = settings.engine.local.environments.making_seconds_max
    return EnvironmentStore(settings.home_path / "envs", Installer(), seconds_max=seconds)


def views(settings: Settings, store: EnvironmentStore) -> list[dict[str, Any]]:
    """Return the environments of this machine as JSON, the one that was used last first.

    An environment of `engine.local.environment` comes before them.
    """
    given = settings.engine.local.environment
    key = "" if given else store.default_key
    found = [view(record, store, is_default=record.key == key) for record in store.all()]
    return [_given(settings.environment_path, store), *found] if given else found


def view(record: Record, store: EnvironmentStore, *, is_default: bool) -> dict[str, Any]:
    """Return an environment as JSON.

    `progress`: the last line of the installer while the environment is made. Times are null before they happen.
    """
    return {
        "id": record.key,
        "state": record.state,
        "default": is_default,
        "path": str(store.path(record.key)),
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
        "notices": list(record.notices),
    }


def _given(path: Path, store: EnvironmentStore) -> dict[str, Any]:
    """Return the environment that the setting names. Its size is not counted: it may be any folder."""
    exists = (path / "bin" / "python").exists()
    record = Record(
        key=DEFAULT,
        state="ready" if exists else "failed",
        packages=packages_in(path) if exists else (),
        reason="" if exists else f"engine.local.environment: there is no {path}/bin/python",
    )
    return {**view(record, store, is_default=True), "path": str(path)}


def _time(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
