"""Compares what lists and gets cost on a thousand rows and on a million, with real servers on either.

    python -m benchmarks.scale SMALL_URL BIG_URL --storage /folder/of/both --output results.json

Both databases were filled by benchmarks/load.py. Every case is asked of both servers in turn, one request at a time;
its figure is the median. `ratio` is the time on the big database by that on the small one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx

from benchmarks.cases import Case, cases
from benchmarks.load import Size
from benchmarks.seed import BUSY, DOMAIN

ROOT = Path(__file__).parents[1]
START_SECONDS_MAX = 180
WARM_UP = 3
PAGES = 10_000
PAGE_ROWS = 20


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(url: str, home: Path) -> Iterator[httpx.Client]:
    """A server process on a database, with one worker and without an engine; a client of it."""
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    flags = [part for name in ("--grpc-port", "--metrics-port") for part in (name, "0")]
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLYTEADMIN_")},
        "FLYTEADMIN_HOME": str(home),
        "FLYTEADMIN_DATABASE_URL": url,
        "FLYTEADMIN_ENGINE": "none",
        "FLYTEADMIN_STORAGE_URL": str(home / "objects"),
        "PYTHONPATH": str(ROOT),
    }
    with (home / "server.log").open("w") as log:
        command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port), *flags]
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while "flyteadmin is ready" not in (home / "server.log").read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((home / "server.log").read_text())
            time.sleep(0.1)
        headers = {"accept": "application/json"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", headers=headers, timeout=60) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


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


def compare(
    small: httpx.Client, big: httpx.Client, pairs: list[tuple[Case, Case]], rounds: int
) -> dict[str, dict[str, Any]]:
    """Median milliseconds of each case on both; the servers take turns."""
    found: dict[str, dict[str, Any]] = {}
    for one, other in pairs:
        times: tuple[list[float], list[float]] = ([], [])
        rows = [0, 0]
        for number in range(WARM_UP + rounds):
            for place, (client, path) in enumerate(((small, one.path), (big, other.path))):
                took, answer = timed(client, path)
                rows[place] = rows_in(answer)
                if number >= WARM_UP:
                    times[place].append(took)
        medians = [statistics.median(each) for each in times]
        found[one.name] = {
            "small_ms": round(medians[0], 2),
            "big_ms": round(medians[1], 2),
            "ratio": round(medians[1] / medians[0], 2),
            "rows": rows,
            "flat": one.flat,
        }
    return found


def walk(client: httpx.Client, pages: int) -> dict[str, Any]:
    """Follow the server's tokens through the newest executions; milliseconds of the first and the last pages."""
    path = f"/executions/{BUSY}/{DOMAIN}?limit={PAGE_ROWS}&sort_by.key=created_at&sort_by.direction=DESCENDING"
    times, token = [], ""
    for _ in range(pages):
        took, answer = timed(client, f"{path}&token={token}")
        times.append(took)
        token = answer.json()["token"]
        if not token:
            break
    part = max(1, min(100, len(times) // 2))
    first, last = statistics.median(times[:part]), statistics.median(times[-part:])
    return {
        "pages": len(times),
        "rows_per_page": PAGE_ROWS,
        "first_ms": round(first, 2),
        "last_ms": round(last, 2),
        "ratio": round(last / first, 2),
    }


def versions_of(url: str) -> dict[str, str]:
    """What the figures depend on."""
    kind = "SQLite" if url.startswith("sqlite") else "PostgreSQL"
    return {"flyteadmin": metadata.version("flyteadmin"), "python": sys.version.split()[0], "database": kind}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("small")
    parser.add_argument("big")
    parser.add_argument("--storage", type=Path, required=True, help="folder with the objects of both, small/ and big/")
    parser.add_argument("--small-size", default="1000,1000", help="executions,versions")
    parser.add_argument("--big-size", default="1000000,50000")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="a pattern of the names of cases")
    parser.add_argument("--pages", type=int, default=PAGES)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    sizes = [Size(*map(int, text.split(","))) for text in (arguments.small_size, arguments.big_size)]
    pairs = [
        pair for pair in zip(cases(sizes[0]), cases(sizes[1]), strict=True) if re.search(arguments.only, pair[0].name)
    ]
    storage = arguments.storage
    with serving(arguments.small, storage / "small") as small, serving(arguments.big, storage / "big") as big:
        compared = compare(small, big, pairs, arguments.rounds)
        walked = walk(big, arguments.pages) if arguments.pages else {}
    for name, figures in sorted(compared.items(), key=lambda item: -item[1]["ratio"]):
        line = "{small_ms:9.2f} {big_ms:9.2f} {ratio:7.2f}  {rows!s:14}".format(**figures)
        sys.stdout.write(f"{line} {name}\n")
    sys.stdout.write(f"{walked}\n")
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions_of(arguments.big),
        "sizes": {"small": arguments.small_size, "big": arguments.big_size},
        "cases": compared,
        "pages": walked,
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
