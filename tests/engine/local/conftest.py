"""A control plane in this process, on each kind of database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DATABASES
from tests.engine.plane import Functions, Plane, RunPlane


@pytest.fixture(params=DATABASES)
def run_plane(request: pytest.FixtureRequest, emptied_database: Callable[[str], str], tmp_path: Path) -> RunPlane:
    """Runs an async scenario with a plane: `run_plane(scenario, functions)` awaits `scenario(Plane)`."""

    def run(scenario: Callable[[Plane], Any], functions: Functions, **settings: Any) -> Any:
        async def main() -> Any:
            async with Plane(emptied_database(request.param), tmp_path, functions, **settings).running() as plane:
                return await scenario(plane)

        return asyncio.run(main())

    return run
