"""The virtual environment in which the tests' tasks run: flytekit, and pandas for tables. Made once, in .cache.

FLYTEADMIN_TEST_ENVIRONMENT names another one. `python -m tests.engine.environment` makes ours, as the Makefile does.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from app.engine.local.processes.environment import ensure
from app.settings import Settings
from app.settings.engine import LocalEngine

CACHE = Path(__file__).parents[2] / ".cache" / "flytekit"
REQUIREMENTS = (*LocalEngine().requirements, "pandas>=2", "pyarrow>=15")


def path() -> Path:
    """Its root; it is made if need be."""
    local = {"environment": os.environ.get("FLYTEADMIN_TEST_ENVIRONMENT", ""), "requirements": REQUIREMENTS}
    settings = Settings.model_validate({"home": CACHE, "engine": {"local": local}})
    return asyncio.run(ensure(settings, print)).path


if __name__ == "__main__":
    path()
