"""The steps before the first request: home folder, ports, database, storage, first project.

Each step prints a line, and raises BadSetting with advice when it fails. Nothing is made before the settings are
checked and the ports bound. Commands use the same steps. The modules of the database and of the API, which take a
second of CPU, are imported after these checks.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from app.database import server_lock
from app.errors import FailedPrecondition, FlyteError
from app.server import home, listeners
from app.settings import BadSetting, Masker, Settings, check_served, redact
from app.settings.secrets import secrets_in_address

if TYPE_CHECKING:
    from app.database import base as db

FIRST_PROJECT = "flytesnacks"
# PostgreSQL's code for lock_timeout: a migration gives up before it makes other sessions wait.
_LOCK_NOT_AVAILABLE = "55P03"

Result = TypeVar("Result")


class Progress:
    """Prints the progress of a command: a spinner on a terminal, one plain line for each step elsewhere.

    Args:
        stream: The output, stdout by default.
        masker: Masks the secrets of the settings in each line.
    """

    def __init__(self, stream: TextIO | None = None, masker: Masker | None = None) -> None:
        self._stream = stream or sys.stdout
        self._masker = masker or Masker()
        self._terminal = self._stream.isatty()

    def line(self, text: str = "") -> None:
        """Print one line, and flush it."""
        self._stream.write(f"{self._masker.text(text)}\n")
        self._stream.flush()

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Print a text while the block runs; then the time that it took, from one second on."""
        started = time.monotonic()
        if self._terminal:
            from rich.console import Console

            with Console(file=self._stream).status(f"{self._masker.text(text)} …"):
                yield
        else:
            self.line(f"{text} …")
            yield
        took = time.monotonic() - started
        if self._terminal or took >= 1:
            self.line(f"{text}: done" + (f" ({took:.1f} s)" if took >= 1 else ""))


@dataclass(frozen=True, slots=True)
class Started:
    """The result of `prepare`: a server that can begin to serve.

    Attributes:
        settings: The settings, with the real ports where port 0 asked for a free one.
        lock: The lock of the home folder.
        assistants: The sockets of MCP and of the REST adapter by their use; empty unless `mcp.enabled`.
    """

    settings: Settings
    lock: home.Lock
    rest: socket.socket
    grpc: socket.socket
    metrics: socket.socket
    assistants: Mapping[str, socket.socket]


def _check_tls(settings: Settings) -> list[str]:
    """Check the certificate and key that the settings name; return warnings about them."""
    if not settings.server.security.secure:
        return []
    # The module imports cryptography, which takes 50 ms.
    from app.server import certificates

    pair = certificates.check(settings)
    warning = None if pair is None else certificates.expiry_warning(pair, settings.server.security.ssl)
    return [warning] if warning else []


def prepare(settings: Settings, progress: Progress) -> Started:
    """Lock the home folder, bind the ports, migrate the database, check the storage, make the first project.

    Raises:
        BadSetting: A step failed.
    """
    check_served(settings)
    tls_warnings = _check_tls(settings)
    path = settings.home_path
    progress.line(f"home folder {path}")
    # Take the lock before the ports where the folder exists: the error then names the other server, not a port.
    lock = home.lock(path) if path.is_dir() else None
    server = settings.server
    ports = {"rest": server.http_port, "grpc": server.grpc.port, "metrics": settings.flyteadmin.profiler_port}
    if settings.mcp.enabled:
        ports |= {"mcp": settings.mcp.port, "adapter": settings.mcp.adapter_port}
    bound = listeners.bind_all(server.host, ports)
    if server.security.use_auth:
        check_authentication(settings, progress)
    home.prepare(path)
    lock = lock or home.lock(path)
    migrate(settings, progress)
    bind_storage(settings)
    first_project(settings, progress)
    settings = _with_ports(settings, {use: listeners.port_of(one) for use, one in bound.items()})
    if settings.server.security.secure and settings.server.security.ssl.local_authority:
        from app.server import local_authority

        settings = local_authority.use(settings)
    home.write_client_config(settings)
    from app.api.http.origins import start_warnings

    for warning in (*start_warnings(settings), *tls_warnings):
        progress.line(f"warning: {warning}")
    rest, grpc, metrics = (bound.pop(use) for use in ("rest", "grpc", "metrics"))
    return Started(settings, lock, rest, grpc, metrics, assistants=bound)


def check_authentication(settings: Settings, progress: Progress) -> None:
    """Read the secrets, and ask the identity provider for its documents.

    Raises:
        BadSetting: A secret is missing, or the provider does not answer as the settings expect.
    """
    from app.auth import start_check

    start_check.check_secrets(settings)
    with progress.step(f"asking the identity provider {shown(settings.auth.user_auth.open_id.base_url)}"):
        asyncio.run(start_check.check_providers(settings))
    for warning in start_check.warnings(settings):
        progress.line(f"warning: {warning}")


def _with_ports(settings: Settings, ports: Mapping[str, int]) -> Settings:
    """Return the settings with the ports of the bound sockets. `ports` has them by use."""
    server = settings.server
    found = {"http_port": ports["rest"], "grpc": server.grpc.model_copy(update={"port": ports["grpc"]})}
    adapters = {key: ports[use] for use, key in (("mcp", "port"), ("adapter", "adapter_port")) if use in ports}
    return settings.model_copy(
        update={
            "server": server.model_copy(update=found),
            "mcp": settings.mcp.model_copy(update=adapters),
            "flyteadmin": settings.flyteadmin.model_copy(update={"profiler_port": ports["metrics"]}),
        }
    )


def migrate(settings: Settings, progress: Progress) -> None:
    """Migrate the database to this version's schema.

    Raises:
        BadSetting: The database does not answer, has a newer schema, or refuses the change.
    """
    from app.database import migrations

    url = settings.database_url
    created = _sqlite_file(url) if url.startswith("sqlite") and not _sqlite_file(url).exists() else None
    try:
        if not migrations.pending(url):
            return
        with progress.step(f"migrating the database {shown(url)}"):
            migrations.run(url)
    except BaseException as error:
        if created is not None:
            # Without this, the next start would find a file that is no database.
            for suffix in ("", "-wal", "-shm", "-journal"):
                created.with_name(created.name + suffix).unlink(missing_ok=True)
        raise _database_problem(url, error) from error


def rollback(settings: Settings) -> None:
    """Undo the last migration.

    Raises:
        BadSetting: As `migrate`; or there is no migration to undo.
    """
    from alembic.util.exc import CommandError

    from app.database import migrations

    url = settings.database_url
    try:
        migrations.pending(url)
        migrations.rollback(url, "-1")
    except CommandError as error:
        raise BadSetting(f"database {shown(url)}: there is no migration to undo ({error})") from error
    except Exception as error:
        raise _database_problem(url, error) from error


def _database_problem(url: str, error: BaseException) -> BadSetting:
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    advice = "check FLYTEADMIN_DATABASE_URL, or the section `database` of the configuration file"
    if isinstance(error, BadSetting):
        return error
    if isinstance(error, DBAPIError):
        if getattr(error.orig, "sqlstate", "") == _LOCK_NOT_AVAILABLE:
            advice = "another session uses a table that the migration changes; run the command again when it has ended"
        reason = str(error.orig)
    elif isinstance(error, FlyteError):
        reason = error.message
        if isinstance(error, FailedPrecondition):
            # The message of the error has the advice, and the settings are right.
            advice = ""
    elif isinstance(error, (SQLAlchemyError, OSError)):
        reason = str(error)
    else:
        raise error
    # libpq's messages have several lines, of which the first names the cause.
    first = Masker(secrets_in_address(url)).text(reason.strip().partition("\n")[0])
    return BadSetting(f"database {shown(url)}: {first}{advice and f'; {advice}'}")


@asynccontextmanager
async def opened(settings: Settings, *, serves: bool = False) -> AsyncIterator[db.Database]:
    """Open the database of the settings while the block runs.

    Args:
        settings: The settings.
        serves: As in `database_of`.

    Raises:
        Unavailable: The database does not answer.
    """
    from app.database.connect import database_of

    database = database_of(settings, serves=serves)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def bind_storage(settings: Settings) -> None:
    """Check that the storage belongs to the database; give both an id where the database has none.

    Raises:
        BadSetting: The storage belongs to another database or cannot be used, or the database fails.
    """
    from app.blobs import Blobs
    from app.server import installation

    blobs = Blobs(settings)
    on_database(settings, lambda database: installation.bind_storage(database, blobs))


def adopt_storage(settings: Settings) -> str:
    """Make the storage belong to the database, for use after a move. Return their common id.

    Raises:
        BadSetting: As bind_storage; or a server serves the database.
    """
    from app.blobs import Blobs
    from app.server import installation

    check_migrated(settings)
    blobs = Blobs(settings)
    try:
        with server_lock.exclusive(settings.database_url):
            return on_database(settings, lambda database: installation.adopt_storage(database, blobs))
    except FlyteError as error:
        raise _database_problem(settings.database_url, error) from error


def first_project(settings: Settings, progress: Progress) -> None:
    """Register the first project in a database without projects."""
    if seed(settings, (FIRST_PROJECT,), only_if_empty=True):
        progress.line(f"made the first project, {FIRST_PROJECT}")


def seed(settings: Settings, projects: Sequence[str], *, only_if_empty: bool = False) -> tuple[str, ...]:
    """Register the projects that do not exist, in one transaction.

    Args:
        settings: The settings.
        projects: The ids.
        only_if_empty: Do nothing in a database that has a project.

    Returns:
        The ids of the projects that were registered.

    Raises:
        BadSetting: An id is not allowed, or the database fails.

    Source: SeedProjects of flyteadmin/pkg/repositories/config/seed_data.go.
    """
    from app.database import schema
    from app.services import checks
    from app.services import projects as registry

    for project in projects:
        if checks.dns_label_problems(project):
            raise BadSetting(f"{project!r} is no project id; allowed: up to 63 of a-z, 0-9 and -, none at the ends")

    async def make(database: db.Database) -> tuple[str, ...]:
        async with database.unit_of_work() as unit:
            if only_if_empty and await unit.count(schema.Project):
                return ()
            return await registry.seed(unit, projects)

    return on_database(settings, make)


def on_database(settings: Settings, work: Callable[[db.Database], Awaitable[Result]]) -> Result:
    """Run a function on the open database and return its result.

    Raises:
        BadSetting: The database fails.
    """

    async def run() -> Result:
        async with opened(settings) as database:
            return await work(database)

    try:
        return asyncio.run(run())
    except FlyteError as error:
        raise _database_problem(settings.database_url, error) from error


def check_migrated(settings: Settings, advice: str = "run flyteadmin migrate run first") -> None:
    """Check that the database has this version's schema.

    Args:
        settings: The settings.
        advice: The end of the error for an older schema.

    Raises:
        BadSetting: There is no database, or it has another schema.
    """
    from app.database import migrations

    url = settings.database_url
    missing = url.startswith("sqlite") and not _sqlite_file(url).exists()
    try:
        if missing or migrations.pending(url):
            raise BadSetting(f"database {shown(url)}: lacks this version's schema; {advice}")
    except FlyteError as error:
        raise _database_problem(url, error) from error


def _sqlite_file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def shown(url: str) -> str:
    """Return a database URL without its password; for SQLite the path of the file."""
    return str(_sqlite_file(url)) if url.startswith("sqlite") else redact(url)
