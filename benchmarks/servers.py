"""The processes that are measured: PostgreSQL, the server on each database, the unit; and what they use.

Everything lies in one temporary folder and ends with the block.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from app.database import migrations
from benchmarks import fill, unit
from tests.support.clusters import Postgres, binaries
from tests.support.servers import ROOT, Running, serving

WORKERS = 2
DATABASES = ("postgresql", "sqlite")
START_SECONDS_MAX = 120


class Missing(Exception):
    """Something that the benchmark needs is not on this machine; the message says what and how to get it."""


@dataclass
class Processes:
    """A process and everything below it."""

    root: psutil.Process

    def tree(self) -> list[psutil.Process]:
        """The processes that are there now."""
        return [self.root, *self.root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """User and system time of all so far, with that of children that have ended."""
        total = 0.0
        for process in self.tree():
            try:
                used = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += used.user + used.system
            if process == self.root:
                total += used.children_user + used.children_system
        return total

    def resident_bytes(self) -> list[int]:
        """Resident memory of each, largest first."""
        return sorted((process.memory_info().rss for process in self.tree()), reverse=True)


@dataclass
class Served:
    """A server under load. rest: http://host:port; grpc: host:port; token: a file with the bearer token, if any."""

    database: str
    rest: str
    grpc: str
    processes: Processes
    token: Path | None = None


@dataclass
class Bed:
    """What a benchmark runs on. urls, servers: by kind of database."""

    folder: Path
    unit: Served
    postgres: Processes
    postgres_version: str
    urls: dict[str, str]
    servers: dict[str, Served] = field(default_factory=dict)


def need_postgres() -> Path:
    """The folder of PostgreSQL's programs. errors: Missing"""
    found = binaries()
    if found is None:
        raise Missing("PostgreSQL is not on this machine (no initdb); on Debian: apt-get install postgresql")
    return found


@contextmanager
def bed(folder: Path, databases: tuple[str, ...], *, durable: bool, serve: bool = True) -> Iterator[Bed]:
    """Fill the databases, start the servers (if serve) and the unit; stop them in the end. errors: Missing"""
    cluster = Postgres(need_postgres(), durable=durable)
    try:
        postgres_url = cluster.create()
        urls = {"postgresql": postgres_url, "sqlite": f"sqlite:///{folder / 'flyteadmin.db'}"}
        # The unit reads PostgreSQL, so that one is always filled.
        for database in {"postgresql", *databases}:
            migrations.run(urls[database])
            asyncio.run(fill.Filler(urls[database], folder / f"storage-{database}").fill())
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            version = str(connection.info.parameter_status("server_version"))
        postmaster = int((cluster.folder / "data" / "postmaster.pid").read_text().split()[0])
        with _unit(folder, postgres_url) as unit_served:
            made = Bed(folder, unit_served, Processes(psutil.Process(postmaster)), version, urls)
            yield from _serve(made, databases if serve else (), urls)
    finally:
        cluster.stop()


def _serve(made: Bed, databases: tuple[str, ...], urls: dict[str, str]) -> Iterator[Bed]:
    if not databases:
        yield made
        return
    database = databases[0]
    variables = {
        "FLYTEADMIN_DATABASE_URL": urls[database],
        "FLYTEADMIN_STORAGE_URL": str(made.folder / f"storage-{database}"),
    }
    with serving(made.folder / f"home-{database}", "--workers", str(WORKERS), variables=variables) as running:
        made.servers[database] = served(database, running)
        yield from _serve(made, databases[1:], urls)


def served(database: str, running: Running) -> Served:
    """A running server as the load sees it."""
    address = running.address("REST and gRPC").replace("localhost", "127.0.0.1")
    return Served(database, f"http://{address}", address, Processes(psutil.Process(running.process.pid)))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _unit(folder: Path, postgres_url: str) -> Iterator[Served]:
    """The unit's server."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.unit:app", "--port", str(port), "--workers", str(WORKERS)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    with (folder / "unit.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, unit.URL_VARIABLE: postgres_url}, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/tasks/none/none/none/none", process)
        yield Served("postgresql", url, "", Processes(psutil.Process(process.pid)))
    finally:
        process.terminate()
        process.wait(START_SECONDS_MAX)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until something answers, be it 404."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing answers at {url}")
