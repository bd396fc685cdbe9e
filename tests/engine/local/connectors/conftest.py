"""A plane with a scripted service, on SQLite; test_restarts.py runs on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.local.connectors.scripted import Scripted
from tests.engine.plane import Plane

RunConnected = Callable[..., Any]


@pytest.fixture
def run_connected(emptied_database: Callable[[str], str], tmp_path: Path) -> RunConnected:
    """Runs `scenario(plane, service)`; `section` are further keys of plugins.connector-service."""

    def run(scenario: Callable[[Plane, Scripted], Any], service: Scripted, **section: Any) -> Any:
        async def main() -> Any:
            local = section.pop("local", {})
            async with service.running():
                settings = service.settings(**section)
                settings["engine"]["local"]["connectors"] |= local
                async with Plane(emptied_database("sqlite"), tmp_path, {}, **settings).running() as plane:
                    return await scenario(plane, service)

        return asyncio.run(main())

    return run
