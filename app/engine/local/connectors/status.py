"""The services and their last answers, for the page of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.engine.local.connectors.deployments import OWN
from app.engine.local.connectors.own_service import OwnService
from app.engine.local.connectors.registry import ServiceState
from app.engine.local.connectors.runner import ConnectorRunner
from app.settings.connectors import CONNECTOR_SERVICE


def status_of(runner: ConnectorRunner) -> dict[str, Any]:
    """Return the services, as app/api/pages/connectors.py describes them."""
    services = [_of_settings(one) for one in runner.registry.services]
    services += [_own(one) for one in runner.own.all]
    return {"services": services, "open_tasks": runner.open_tasks}


def _of_settings(service: ServiceState) -> dict[str, Any]:
    connection, target = service.connection, service.connection.target
    return {
        "plugin": target.plugin,
        "id": target.id,
        "endpoint": target.deployment.endpoint,
        "types": [
            {"name": name, "version": version, "sync": sync}
            for (name, version), sync in sorted((service.types or {}).items())
        ],
        "answered_at": _time(service.answered_at),
        "problem": service.problem,
        "calls": connection.calls,
        "failed_calls": connection.failures,
    }


def _own(service: OwnService) -> dict[str, Any]:
    state = service.current
    if state is not None:
        return {**_of_settings(state), "problem": service.problem}
    return {
        "plugin": CONNECTOR_SERVICE,
        "id": OWN,
        "endpoint": "",
        "types": [],
        "answered_at": None,
        "problem": service.problem,
        "calls": 0,
        "failed_calls": 0,
    }


def _time(moment: float) -> str | None:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None
