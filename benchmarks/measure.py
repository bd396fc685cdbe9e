"""One route against the unit: alternating runs, so that what the machine does meanwhile hits both."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import clients
from benchmarks.clients import Load
from benchmarks.routes import UNIT, Route
from benchmarks.servers import WORKERS, Bed, Served

WARM_UP_SECONDS = 1


@dataclass(frozen=True)
class Run:
    """One run of a client. CPU in seconds, of all the processes of a kind together."""

    load: Load
    server_cpu_seconds: float
    database_cpu_seconds: float

    @property
    def server_cpu_us(self) -> float:
        """What the server's processes took for one request."""
        return self.server_cpu_seconds / max(self.load.requests, 1) * 1e6

    @property
    def database_cpu_us(self) -> float:
        """What PostgreSQL's processes took for one request."""
        return self.database_cpu_seconds / max(self.load.requests, 1) * 1e6

    @property
    def cpu_us(self) -> float:
        """What server, database and client took for one request: on a busy machine that decides how many there are."""
        return self.server_cpu_us + self.database_cpu_us + self.load.cpu_seconds / max(self.load.requests, 1) * 1e6


@dataclass(frozen=True)
class Pair:
    """A run against the server, and one against the unit right before."""

    route: Run
    unit: Run

    @property
    def ratio(self) -> float:
        """Requests per second in units."""
        return self.route.load.per_second / self.unit.load.per_second

    @property
    def ratio_by_cpu(self) -> float:
        """The ratio as it would be if nothing but CPU counted: other programs disturb it much less."""
        return self.unit.cpu_us / self.route.cpu_us if self.route.cpu_us else 0.0


def pairs(
    route: Route, bed: Bed, databases: tuple[str, ...], *, seconds: int, count: int, ghz: bool
) -> dict[str, list[Pair]]:
    """The runs of a route on each database, which share the runs of the unit."""
    runs: dict[str, list[Pair]] = {database: [] for database in databases}
    for database in databases:
        clients.run(route, bed.servers[database], bed.folder, WARM_UP_SECONDS, ghz=ghz)
    for _ in range(count):
        unit = run(UNIT, bed, bed.unit, seconds, ghz)
        if unit.load.errors:
            raise RuntimeError(f"the unit failed {unit.load.errors} times")
        for database in databases:
            runs[database].append(Pair(run(route, bed, bed.servers[database], seconds, ghz), unit))
    return runs


def run(route: Route, bed: Bed, server: Served, seconds: int, ghz: bool = False) -> Run:
    """One run of a client, with the CPU time that it took."""
    server_before, database_before = server.processes.cpu_seconds(), bed.postgres.cpu_seconds()
    load = clients.run(route, server, bed.folder, seconds, ghz=ghz)
    # PostgreSQL idles while SQLite is measured, which runs inside the server.
    database_cpu_seconds = bed.postgres.cpu_seconds() - database_before if server.database == "postgresql" else 0.0
    return Run(load, server.processes.cpu_seconds() - server_before, database_cpu_seconds)


def memory(server: Served) -> list[int]:
    """Resident bytes of each worker: the supervisor and what Python keeps beside it are smaller."""
    return server.processes.resident_bytes()[:WORKERS]


def figures(route: Route, database: str, runs: list[Pair]) -> dict[str, Any]:
    """What is told of a route: medians over the runs, and the runs themselves."""

    def median(value: Callable[[Pair], float]) -> float:
        return round(statistics.median(map(value, runs)), 4)

    errors = sum(run.route.load.errors for run in runs)
    ratio = median(lambda pair: pair.ratio)
    return {
        "route": route.name,
        "database": database,
        "requests_per_second": median(lambda pair: pair.route.load.per_second),
        "p50_ms": median(lambda pair: pair.route.load.p50_ms),
        "p99_ms": median(lambda pair: pair.route.load.p99_ms),
        "cpu_us_per_request": median(lambda pair: pair.route.server_cpu_us),
        "database_cpu_us_per_request": median(lambda pair: pair.route.database_cpu_us),
        "unit_per_second": median(lambda pair: pair.unit.load.per_second),
        "unit_cpu_us_per_request": median(lambda pair: pair.unit.server_cpu_us),
        "unit_database_cpu_us_per_request": median(lambda pair: pair.unit.database_cpu_us),
        "ratio": ratio,
        "ratio_by_cpu": median(lambda pair: pair.ratio_by_cpu),
        "ratio_go": route.go,
        "ratio_target": route.target,
        "met": errors == 0 and ratio >= route.target,
        "errors": errors,
        "problem": next((run.route.load.problem for run in runs if run.route.load.problem), ""),
        "runs": [asdict(pair) | {"ratio": round(pair.ratio, 4)} for pair in runs],
    }
