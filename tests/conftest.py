"""What every test may ask for: a PostgreSQL of its own, migrated databases, a context, a running server."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from app.database import migrations
from app.database.connect import database_at
from app.engine.port import NoEngine
from app.runtime.context import Context
from app.settings import Settings
from app.wire.page import Page
from tests.support.clusters import Postgres, binaries

DATABASES = ("sqlite", "postgresql")

# How long one example takes says more of the machine's other work than of the code.
hypothesis.settings.register_profile(
    "flyteadmin", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("flyteadmin")
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL; the tests that need one are skipped loudly on a machine without it."""
    found = binaries()
    if found is None:
        warnings.warn("NO POSTGRESQL on this machine (initdb not found): half of the tests are SKIPPED", stacklevel=1)
        pytest.skip("no initdb on this machine")
    cluster = Postgres(found)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def empty_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Makes a migrated database of a kind, a copy of one that was migrated once; returns its URL."""
    templates: dict[str, str] = {}
    folder = tmp_path_factory.mktemp("databases")

    def make(kind: str) -> str:
        if kind == "postgresql":
            cluster: Postgres = request.getfixturevalue("postgres")
            if kind not in templates:
                url = cluster.create()
                migrations.run(url)
                templates[kind] = url.partition("@/")[2].partition("?")[0]
            return cluster.create(template=templates[kind])
        if kind not in templates:
            templates[kind] = str(folder / "template.db")
            migrations.run(f"sqlite:///{templates[kind]}")
        path = folder / f"{next(_numbers)}.db"
        shutil.copy(templates[kind], path)
        return f"sqlite:///{path}"

    return make


class Bench:
    """A migrated database, a blob folder and settings: makes the contexts that service functions take."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self.settings = settings
        self.engine: Any = NoEngine()
        from app.blobs import Blobs

        self.blobs = Blobs(settings)
        self.database = database_at(url, connections_max=20, busy_timeout_seconds=20, statement_timeout_seconds=30)

    @asynccontextmanager
    async def context(self, *, principal: str = "", now: datetime | None = None) -> AsyncIterator[Context]:
        """A context whose work is committed when the block ends, as the edge does."""
        async with self.database.unit_of_work() as unit:
            ctx = Context(
                principal=principal,
                now=now or datetime.now(UTC),
                settings=self.settings,
                db=unit,
                blobs=self.blobs,
                engine=self.engine,
                endpoint="http://localhost:30080",
            )
            yield ctx
        for callback in ctx.callbacks:
            outcome = callback()
            if outcome is not None:
                await outcome

    async def call(self, function: Any, request: Any, **how: Any) -> Any:
        """One RPC: function(ctx, request), committed; a page as its message."""
        async with self.context(**how) as ctx:
            response = await function(ctx, request)
        return response.message() if isinstance(response, Page) else response


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, empty_database: Callable[[str], str], tmp_path: Path) -> Callable[..., Any]:
    """Runs an async scenario on a fresh database of each kind: `bench(scenario)` awaits `scenario(Bench)`.

    Settings may be changed with keywords of Settings (nested dicts): bench(scenario, flyteadmin={...}).
    """
    url = empty_database(request.param)

    def run(scenario: Callable[[Bench], Any], **settings: Any) -> Any:
        async def main() -> Any:
            desk = Bench(url, Settings(home=tmp_path, **settings))
            await desk.database.open()
            try:
                return await scenario(desk)
            finally:
                await desk.database.close()

        return asyncio.run(main())

    return run
