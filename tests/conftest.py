"""Fixtures of all tests: a PostgreSQL of their own, migrated databases, and service calls on an empty database."""

from __future__ import annotations

import asyncio
import functools
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import typer.testing

from app.auth.authentication import Authentication
from app.auth.identity import ANONYMOUS, Identity
from app.blobs import Blobs
from app.database.connect import database_at
from app.engine.port import NoEngine
from app.runtime import dispatch
from app.runtime.context import Context
from app.runtime.rows import Rpc
from app.settings import Settings
from app.wire.page import Page
from tests.support import log_setup, processes
from tests.support.clusters import Postgres, binaries
from tests.support.databases import Databases
from tests.support.tokens import NoTokens

DATABASES = ("sqlite", "postgresql")

# How long one example takes says more of the machine's other work than of the code. `make test-examples` runs the
# profile "thorough".
hypothesis.settings.register_profile(
    "flyteadmin", deadline=None, max_examples=30, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("thorough", hypothesis.settings.get_profile("flyteadmin"), max_examples=500)
hypothesis.settings.load_profile("flyteadmin")

# A server on a machine with other work may need more than the 5 s after which httpx gives up by default.
for _phase in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, _phase, 60.0)

# Each client of httpx reads the file of public authorities anew, 50 ms of CPU.
_make_context = httpx._transports.default.create_ssl_context
_default_context = functools.cache(_make_context)


def _context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if verify is True and cert is None:
        return _default_context(trust_env=trust_env)
    return _make_context(verify=verify, cert=cert, trust_env=trust_env)


httpx._transports.default.create_ssl_context = _context

# CliRunner.invoke makes all commands anew, 45 ms of CPU; they keep no state.
typer.testing._get_command = functools.cache(typer.main.get_command)  # type: ignore[attr-defined]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Add the markers that choose the tests of `make test-fast` and `make test`."""
    for item in items:
        processes.add_markers(item)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    processes.enter(item)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Allow processes: the end of the last test also ends fixtures of earlier ones, such as PostgreSQL."""
    processes.leave()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    with log_setup.restored():
        return (yield)


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
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """The migrated databases of this process."""
    made = Databases(tmp_path_factory.mktemp("databases"), lambda: request.getfixturevalue("postgres"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def empty_database(databases: Databases) -> Callable[[str], str]:
    """Return a function that makes a new migrated database of a kind and returns its URL.

    For servers that several tests share, and for tests that need two databases. Others take emptied_database.
    """
    return databases.new


@pytest.fixture
def emptied_database(databases: Databases) -> Callable[[str], str]:
    """Return a function that returns the URL of a migrated database without rows. Call it once per test."""
    return databases.emptied


class Bench:
    """A migrated database, a blob folder and settings, with the calls of service functions on them."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self.settings = settings
        self.engine: Any = NoEngine()
        self.blobs = Blobs(settings)
        self.database = database_at(url, connections_max=20, busy_timeout_seconds=20, statement_timeout_seconds=30)

    @asynccontextmanager
    async def context(self) -> AsyncIterator[Context]:
        """Yield a context for statements that a test prepares or checks rows with; commit when the block ends."""
        async with self.database.unit_of_work() as unit:
            yield Context(ANONYMOUS, datetime.now(UTC), self.settings, unit, self.blobs, self.engine)

    async def call(
        self,
        function: Any,
        request: Any,
        *,
        principal: str = "",
        identity: Identity | None = None,
        now: datetime | None = None,
    ) -> Any:
        """Run a service function by dispatch and return its response; a page of a list as its message.

        Args:
            identity: The caller where authentication is on; without it, authentication is off.
            now: The clock of the request; without it, the machine's.
        """
        server = dispatch.Server(self.settings, self.database, self.blobs, self.engine)
        if identity is not None:
            nobody = NoTokens()
            server.auth = Authentication(self.settings, nobody, nobody)
        rpc = Rpc("tests", "Function", function, type(request), type(request))
        call = dispatch.Call(rpc, identity=identity or Identity(subject=principal), endpoint="http://localhost:30080")
        before = Clock.chosen.set(now)
        try:
            response = await dispatch.perform(server, function, request, call)
        finally:
            Clock.chosen.reset(before)
        return response.message() if isinstance(response, Page) else response


class Clock:
    """Stands in for datetime where only now() is called: a call has its own clock, and calls may overlap."""

    chosen: ContextVar[datetime | None] = ContextVar("chosen", default=None)

    def now(self, zone: tzinfo) -> datetime:
        chosen = self.chosen.get()
        return datetime.now(zone) if chosen is None else chosen.astimezone(zone)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "datetime", Clock())


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, emptied_database: Callable[[str], str], tmp_path: Path) -> Callable[..., Any]:
    """Runs an async scenario on an empty database of each kind: `bench(scenario)` awaits `scenario(Bench)`.

    Settings may be changed with keywords of Settings (nested dicts): bench(scenario, flyteadmin={...}).
    """
    url = emptied_database(request.param)

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
