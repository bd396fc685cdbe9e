"""One route against the unit: alternating runs, so that what the machine does meanwhile hits both."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import clients
from benchmarks.clients import Load
from benchmarks.routes import UNIT, Route
from benchmarks.servers import Bed, Served

WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Run:
    """One run against the server, right after one against the unit. CPU in seconds of all the processes together."""

    load: Load
    unit_per_second: float
    server_cpu_seconds: float
    database_cpu_seconds: float

    @property
    def ratio(self) -> float:
        """Requests per second in units."""
        return self.load.per_second / self.unit_per_second


def pairs(route: Route, bed: Bed, databases: tuple[str, ...], *, seconds: float, count: int) -> dict[str, list[Run]]:
    """The runs of a route on each database, which share the runs of the unit."""
    runs: dict[str, list[Run]] = {database: [] for database in databases}
    for database in databases:
        clients.run(route, bed.servers[database], bed.folder, WARM_UP_SECONDS)
    for _ in range(count):
        unit = clients.rest(UNIT, bed.unit_url, bed.folder, seconds)
        if unit.errors:
            raise RuntimeError(f"the unit failed {unit.errors} times")
        for database in databases:
            runs[database].append(_run(route, bed, bed.servers[database], seconds, unit.per_second))
    return runs


def _run(route: Route, bed: Bed, server: Served, seconds: float, unit_per_second: float) -> Run:
    server_before, database_before = server.processes.cpu_seconds(), bed.postgres.cpu_seconds()
    load = clients.run(route, server, bed.folder, seconds)
    return Run(
        load,
        unit_per_second,
        server.processes.cpu_seconds() - server_before,
        bed.postgres.cpu_seconds() - database_before,
    )


def figures(route: Route, database: str, runs: list[Run]) -> dict[str, Any]:
    """What is told of a route: medians over the runs, and the runs themselves."""

    def median(values: list[float]) -> float:
        return round(statistics.median(values), 4)

    errors = sum(run.load.errors for run in runs)
    ratio = median([run.ratio for run in runs])
    on_postgres = database == "postgresql"
    return {
        "route": route.name,
        "database": database,
        "requests_per_second": median([run.load.per_second for run in runs]),
        "p50_ms": median([run.load.p50_ms for run in runs]),
        "p99_ms": median([run.load.p99_ms for run in runs]),
        "cpu_us_per_request": median([run.server_cpu_seconds / max(run.load.requests, 1) * 1e6 for run in runs]),
        # SQLite runs inside the server.
        "database_cpu_us_per_request": (
            median([run.database_cpu_seconds / max(run.load.requests, 1) * 1e6 for run in runs]) if on_postgres else 0.0
        ),
        "unit_per_second": median([run.unit_per_second for run in runs]),
        "ratio": ratio,
        "ratio_go": route.go,
        "ratio_target": route.target,
        "met": errors == 0 and ratio >= route.target,
        "errors": errors,
        "problem": next((run.load.problem for run in runs if run.load.problem), ""),
        "runs": [asdict(run) | {"ratio": round(run.ratio, 4)} for run in runs],
    }
