"""Compares what lists and gets cost on a thousand rows and on a million, with real servers on either.

Both databases were filled by benchmarks/load.py; `make bench-scale` does that too. Every case is asked of both servers
in turn, one request at a time; its figure is the median. `ratio` is the time on the big database by that on the small
one.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.cases import Case, cases
from benchmarks.load import WIDE, Size, load
from benchmarks.seed import BUSY, DOMAIN
from benchmarks.servers import need_postgres
from tests.engine import environment
from tests.support import servers
from tests.support.clusters import Postgres

WARM_UP = 3
FLOWS = Path(__file__).with_name("flows")
# Lists that are followed to the end by their tokens, and the rows of a page.
_EXECUTIONS = f"/executions/{BUSY}/{DOMAIN}?sort_by.key=created_at&sort_by.direction="
_NODES = f"/node_executions/{BUSY}/{DOMAIN}/{WIDE}?sort_by.key=created_at&sort_by.direction="
WALKS = {
    "executions, newest first": (f"{_EXECUTIONS}DESCENDING", 20),
    "executions, unsorted": (f"/executions/{BUSY}/{DOMAIN}?", 20),
    "nodes of ten thousand": (f"{_NODES}ASCENDING", 100),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A filled database. home: the folder whose `objects` are those of the database; load_seconds: what filling took"""

    url: str
    home: Path
    size: Size
    load_seconds: float | None = None


Both = tuple[Loaded, Loaded]


def listed(file: Path, sizes: tuple[Size, Size]) -> Both:
    """The small and the big database that a file names, each with a line of its URL and its folder."""
    small, big = (line.split() for line in file.read_text().splitlines())
    return Loaded(small[0], Path(small[1]), sizes[0]), Loaded(big[0], Path(big[1]), sizes[1])


@contextmanager
def filled(folder: Path, database: str, sizes: tuple[Size, Size], report: Callable[[str], None]) -> Iterator[Both]:
    """A small and a big database of this kind, which are gone after the block. errors: Missing"""
    cluster = Postgres(need_postgres()) if database == "postgresql" else None
    try:
        made = []
        for name, size in zip(("small", "big"), sizes, strict=True):
            home = folder / database / name
            home.mkdir(parents=True)
            url = cluster.create() if cluster else f"sqlite:///{home / 'flyteadmin.db'}"
            started = time.monotonic()
            load(url, home, size, report)
            made.append(Loaded(url, home, size, round(time.monotonic() - started, 1)))
        yield made[0], made[1]
    finally:
        if cluster:
            cluster.stop()


@contextmanager
def serving(url: str, home: Path) -> Iterator[httpx.Client]:
    """A server process on a database, with one worker and without an engine; a client of it."""
    variables = {"FLYTEADMIN_DATABASE_URL": url, "FLYTEADMIN_STORAGE_URL": str(home / "objects")}
    headers = {"accept": "application/json"}
    with (
        servers.serving(home, variables=variables) as server,
        httpx.Client(base_url=f"{server.web}/api/v1", headers=headers, timeout=60) as client,
    ):
        yield client


def timed(client: httpx.Client, path: str) -> tuple[float, httpx.Response]:
    """Milliseconds and answer of one request."""
    started = time.perf_counter()
    answer = client.get(path)
    took = (time.perf_counter() - started) * 1000
    if answer.status_code not in (200, 404):
        raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")
    return took, answer


def rows_in(answer: httpx.Response) -> int:
    """How many entries the answer's list has."""
    return max((len(value) for value in answer.json().values() if isinstance(value, list)), default=0)


def compare(small: httpx.Client, big: httpx.Client, pair: tuple[Case, Case], rounds: int) -> dict[str, Any]:
    """Median milliseconds of a case on both; the servers take turns."""
    times: tuple[list[float], list[float]] = ([], [])
    rows = [0, 0]
    for number in range(WARM_UP + rounds):
        for place, (client, case) in enumerate(zip((small, big), pair, strict=True)):
            took, answer = timed(client, case.path)
            rows[place] = rows_in(answer)
            if number >= WARM_UP:
                times[place].append(took)
    medians = [statistics.median(each) for each in times]
    return {
        "case": pair[0].name,
        "small_ms": round(medians[0], 2),
        "big_ms": round(medians[1], 2),
        "ratio": round(medians[1] / medians[0], 2),
        "rows": rows,
        "flat": pair[0].flat,
    }


def walk(client: httpx.Client, path: str, rows: int, pages: int) -> dict[str, Any]:
    """Follow the server's tokens through a list; milliseconds of the first and the last pages."""
    times, token = [], ""
    for _ in range(pages):
        took, answer = timed(client, f"{path}&limit={rows}&token={token}")
        times.append(took)
        token = answer.json()["token"]
        if not token:
            break
    part = max(1, min(100, len(times) // 2))
    first, last = statistics.median(times[:part]), statistics.median(times[-part:])
    return {
        "pages": len(times),
        "rows_per_page": rows,
        "first_ms": round(first, 2),
        "last_ms": round(last, 2),
        "ratio": round(last / first, 2),
    }


def sync(client: httpx.Client) -> dict[str, Any]:
    """What FlyteRemote finds of the execution with many nodes, and in how many seconds. errors: CalledProcessError"""
    command = [str(environment.path() / "bin" / "python"), str(FLOWS / "sync.py")]
    command += [f"{client.base_url.host}:{client.base_url.port}", BUSY, DOMAIN, WIDE]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measure(
    small: Loaded,
    big: Loaded,
    *,
    rounds: int,
    pages: int,
    only: str,
    alone: Callable[[], AbstractContextManager[bool]],
    show: Callable[[str], None],
) -> dict[str, Any]:
    """The figures of all cases whose name has the pattern `only`, of so many pages of WALKS and of FlyteRemote.sync."""
    both = zip(cases(small.size), cases(big.size), strict=True)
    pairs = [pair for pair in both if re.search(only, pair[0].name)]
    rows = []
    with serving(small.url, small.home) as one, serving(big.url, big.home) as other:
        for pair in pairs:
            with alone() as quiet:
                rows.append(compare(one, other, pair, rounds) | {"alone": quiet})
            show(line(rows[-1]))
        walks: dict[str, Any] = {}
        for name, (path, rows_per_page) in WALKS.items() if pages else ():
            with alone() as quiet:
                walks[name] = walk(other, path, rows_per_page, pages) | {"alone": quiet}
            show(f"{name}: {walks[name]}")
        with alone() as quiet:
            synced = sync(other) | {"alone": quiet}
        show(f"FlyteRemote.sync: {synced}")
    return {
        "sizes": {name: asdict(each.size) for name, each in (("small", small), ("big", big))},
        "load_seconds": {"small": small.load_seconds, "big": big.load_seconds},
        "cases": rows,
        "pages": walks,
        "sync": synced,
    }


def line(row: dict[str, Any]) -> str:
    """One case as text."""
    return "{small_ms:9.2f} {big_ms:9.2f} {ratio:7.2f}  {rows!s:14} {case}".format(**row)
