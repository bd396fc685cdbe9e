"""What authentication costs: routes with a bearer token, next to the same routes of a server without authentication.

Both servers have one database, so that their runs alternate on the same rows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.auth.keys import SigningKeys
from benchmarks import clients, measure
from benchmarks.measure import Pair
from benchmarks.routes import ROUTES, Route
from benchmarks.servers import WORKERS, Bed, Served, free_port, served
from tests.auth import deployment
from tests.support import provider
from tests.support.servers import serving

# The share of the throughput without a token that is to be reached.
TARGET = 0.9
TOKEN_SECONDS = 24 * 3600
_NAMES = ("GET /executions/p/d/n", "GET /tasks/p/d/n/v", "gRPC GetExecution", "gRPC GetWorkflow")


def routes() -> list[Route]:
    """A read of a row, and a cached reply, over each transport."""
    return [route for route in ROUTES if route.name in _NAMES]


@contextmanager
def authenticated(bed: Bed, database: str, url: str) -> Iterator[Served]:
    """A server with authentication on a database of the bed, and a token."""
    folder = bed.folder / f"authenticated-{database}"
    folder.mkdir()
    found = provider.Provider()
    try:
        port = free_port()
        url_of_server = f"http://localhost:{port}"
        deployment.make_secrets(folder / "secrets", provider.SECRET)
        settings = deployment.settings_of(folder, url_of_server, "http://localhost:1/callback", found.url)
        settings["server"]["security"]["insecureCookieHeader"] = True
        (folder / "server.yaml").write_text(yaml.safe_dump(settings))
        variables = {
            "FLYTEADMIN_DATABASE_URL": url,
            "FLYTEADMIN_STORAGE_URL": str(bed.folder / f"storage-{database}"),
        }
        flags = ("--config", str(folder / "server.yaml"), "--port", str(port), "--workers", str(WORKERS))
        with serving(folder / "home", *flags, variables=variables) as running:
            server = served(database, running)
            server.token = folder / "token"
            server.token.write_text(_token(folder / "secrets" / "token_rsa_key.pem", url_of_server))
            yield server
    finally:
        found.close()


def _token(key: Path, url: str) -> str:
    """Return an access token as the own authorization server issues it, which lasts longer than a benchmark."""
    private = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, RSAPrivateKey)
    now = int(time.time())
    claims = {"iss": url, "aud": [url], "sub": "bench", "client_id": "bench", "scp": ["all"], "iat": now}
    return SigningKeys(private).issue({**claims, "exp": now + TOKEN_SECONDS})


def pairs(route: Route, bed: Bed, plain: Served, with_token: Served, *, seconds: int, count: int) -> list[Pair]:
    """Alternating runs: the route with a token, and without one as the unit."""
    for server in (plain, with_token):
        clients.run(route, server, bed.folder, measure.WARM_UP_SECONDS)
    found = []
    for _ in range(count):
        unit = measure.run(route, bed, plain, seconds)
        found.append(Pair(measure.run(route, bed, with_token, seconds), unit))
    return found


def figures(route: Route, database: str, runs: list[Pair]) -> dict[str, Any]:
    """One route as a result."""
    errors = sum(pair.route.load.errors + pair.unit.load.errors for pair in runs)
    ratio = statistics.median(pair.ratio for pair in runs)
    return {
        "route": route.name,
        "database": database,
        "requests_per_second": statistics.median(pair.route.load.per_second for pair in runs),
        "without_token_per_second": statistics.median(pair.unit.load.per_second for pair in runs),
        "cpu_us_per_request": statistics.median(pair.route.server_cpu_us for pair in runs),
        "without_token_cpu_us_per_request": statistics.median(pair.unit.server_cpu_us for pair in runs),
        "ratio": ratio,
        "ratio_by_cpu": statistics.median(pair.ratio_by_cpu for pair in runs),
        "ratio_target": TARGET,
        "met": errors == 0 and ratio >= TARGET,
        "errors": errors,
        "runs": [asdict(pair) | {"ratio": round(pair.ratio, 4)} for pair in runs],
    }


def line(row: dict[str, Any]) -> str:
    """One route as a line."""
    said = f"{row['errors']} ERRORS" if row["errors"] else "met" if row["met"] else "not met"
    return (
        f"{row['route']:<28}{row['database']:<11}{row['requests_per_second']:>8.0f} req/s with a token, "
        f"{row['without_token_per_second']:>8.0f} without: {row['ratio']:.2f}, by CPU {row['ratio_by_cpu']:.2f} "
        f"(CPU µs {row['cpu_us_per_request']:.0f} and {row['without_token_cpu_us_per_request']:.0f}); {said}"
    )


def measured(bed: Bed, *, seconds: int, count: int) -> Iterator[dict[str, Any]]:
    """The figures of all routes on all databases of the bed."""
    for database, plain in bed.servers.items():
        with authenticated(bed, database, bed.urls[database]) as with_token:
            for route in routes():
                yield figures(route, database, pairs(route, bed, plain, with_token, seconds=seconds, count=count))
