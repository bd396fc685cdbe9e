"""POST /executions with engine.kind=kubernetes: from the request to the object at an API of Kubernetes.

Go's figure was taken with a stub of the API that accepts everything; so is this one. FLYTEADMIN_BENCHMARK_KUBECONFIG
names the kubeconfig file of a real cluster in its place, which has the kind FlyteWorkflow and the namespaces of the
benchmark. The clock runs until each object has been created.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from app.engine.kubernetes.api import GROUP, PLURAL, VERSION, ClusterApi
from app.engine.kubernetes.kubeconfig import of_file as kubeconfig_of
from app.settings.server import KubeClient
from benchmarks import clients, measure
from benchmarks.routes import ROUTES, UNIT
from benchmarks.servers import WORKERS, Bed, served
from tests.support.servers import ROOT, serving

# Of the unit, and the figure of flyteadmin in Go.
TARGET, GO = 0.04, 0.013
KUBECONFIG_VARIABLE = "FLYTEADMIN_BENCHMARK_KUBECONFIG"
# Above any rate that is reached: upstream's default is 100 calls a second.
QPS = 10_000
WAIT_SECONDS_MAX = 120
Figures = dict[str, Any]


@contextmanager
def _stub(folder: Path) -> Iterator[tuple[Path, Callable[[], int]]]:
    """Run the stub; yield its kubeconfig file and the count of its objects."""
    command = [sys.executable, "-m", "benchmarks.kubernetes_stub"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = f"http://127.0.0.1:{int(process.stdout.readline())}"
            path = folder / "kubeconfig"
            document = {
                "current-context": "x",
                "clusters": [{"name": "c", "cluster": {"server": address}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            }
            path.write_text(json.dumps(document))

            def count() -> int:
                with urllib.request.urlopen(f"{address}/count", timeout=10) as answer:
                    return int(answer.read())

            yield path, count
        finally:
            process.terminate()


def _objects(kubeconfig: str) -> int:
    """Return the number of FlyteWorkflow objects in a real cluster."""

    async def count() -> int:
        api = ClusterApi(kubeconfig_of(kubeconfig, master=""), KubeClient(), requests_max=1)
        try:
            page = await api.call("GET", f"/apis/{GROUP}/{VERSION}/{PLURAL}", query={"limit": "1"})
        finally:
            await api.close()
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))

    return asyncio.run(count())


def measured(bed: Bed, *, databases: tuple[str, ...], seconds: int, count: int) -> Iterator[Figures]:
    """Yield the figures of each database: runs of POST /executions next to runs of the unit."""
    route = next(one for one in ROUTES if one.name == "POST /executions")
    for database in databases:
        with _stub(bed.folder) as (kubeconfig, created):
            real = os.environ.get(KUBECONFIG_VARIABLE, "")
            if real:
                created = partial(_objects, real)
            variables = {
                "FLYTEADMIN_DATABASE_URL": bed.urls[database],
                "FLYTEADMIN_STORAGE_URL": str(bed.folder / f"storage-{database}"),
                "FLYTEADMIN_ENGINE": "kubernetes",
                "FLYTEADMIN__SERVER__KUBE_CONFIG": real or str(kubeconfig),
                "FLYTEADMIN__SERVER__KUBE_CLIENT_CONFIG__QPS": str(QPS),
                "FLYTEADMIN__SERVER__KUBE_CLIENT_CONFIG__BURST": str(QPS),
            }
            home = bed.folder / f"home-kubernetes-{database}"
            with serving(home, "--workers", str(WORKERS), variables=variables) as running:
                server = served(database, running)
                clients.run(route, server, bed.folder, measure.WARM_UP_SECONDS)
                _settle(created)
                runs = []
                for _ in range(count):
                    unit = measure.run(UNIT, bed, bed.unit, seconds)
                    before, began = created(), time.monotonic()
                    cpu_before = server.processes.cpu_seconds(), bed.postgres.cpu_seconds()
                    load = clients.run(route, server, bed.folder, seconds)
                    objects = _settle(created) - before
                    taken = time.monotonic() - began
                    database_cpu = bed.postgres.cpu_seconds() - cpu_before[1] if database == "postgresql" else 0.0
                    run = measure.Run(load, server.processes.cpu_seconds() - cpu_before[0], database_cpu)
                    runs.append((run, unit, objects, taken))
            yield _figures(database, runs)


def _settle(created: Callable[[], int]) -> int:
    """Wait until no object is created any more; return their number."""
    known, since, end = created(), time.monotonic(), time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < min(end, since + 1.5):
        time.sleep(0.05)
        found = created()
        if found != known:
            known, since = found, time.monotonic()
    return known


def _figures(database: str, runs: list[tuple[measure.Run, measure.Run, int, float]]) -> Figures:
    # The last 1.5 s are the wait for further objects.
    rates = [objects / (taken - 1.5) for _, _, objects, taken in runs]
    ratios = [rate / unit.load.per_second for rate, (_, unit, _, _) in zip(rates, runs, strict=True)]
    errors = sum(run.load.errors for run, _, _, _ in runs)
    missing = sum(run.load.requests - run.load.errors - objects for run, _, objects, _ in runs)
    return {
        "database": database,
        "objects_per_second": round(statistics.median(rates), 1),
        "requests_per_second": round(statistics.median(run.load.per_second for run, _, _, _ in runs), 1),
        "cpu_us_per_object": round(statistics.median(run.server_cpu_us for run, _, _, _ in runs)),
        "database_cpu_us_per_object": round(statistics.median(run.database_cpu_us for run, _, _, _ in runs)),
        "unit_per_second": round(statistics.median(unit.load.per_second for _, unit, _, _ in runs)),
        "ratio": round(statistics.median(ratios), 4),
        "ratio_by_cpu": round(statistics.median(unit.cpu_us / run.cpu_us for run, unit, _, _ in runs), 4),
        "ratio_go": GO,
        "ratio_target": TARGET,
        "errors": errors,
        "missing": missing,
        "met": not errors and missing <= 0 and statistics.median(ratios) >= TARGET,
    }


def line(row: Figures) -> str:
    """Return the figures as a line."""
    said = f"{row['errors']} ERRORS, {row['missing']} MISSING" if row["errors"] or row["missing"] > 0 else ""
    cpu = f"CPU µs {row['cpu_us_per_object']} and {row['database_cpu_us_per_object']}"
    ratio = f"{row['ratio']:.4f} of the unit, by CPU {row['ratio_by_cpu']:.4f}"
    return (
        f"POST /executions to object  {row['database']:<11}{row['objects_per_second']:>8.0f}/s: {ratio} "
        f"(Go {GO}, target {TARGET}; {cpu}) {said or ('met' if row['met'] else 'not met')}"
    )
