"""How long a server takes until it answers, next to importing the libraries that any such server needs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from benchmarks.clients import run_to_end
from benchmarks.servers import free_port
from tests.support.servers import COMMAND, STOP_SECONDS_MAX, environment, run

IMPORTS = "import fastapi, sqlmodel, grpc, flyteidl.service.admin_pb2"
TARGET = 2.5
_ANSWER_SECONDS_MAX = 120


def measure(folder: Path, *, pairs: int) -> dict[str, Any]:
    """Alternating starts of the server on a migrated SQLite database and of Python with those imports; medians."""
    home = folder / "home-start"
    done = run(home, "migrate", "run")
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    _first_answer(home)
    imports, starts = [], []
    for _ in range(pairs):
        imports.append(_imports())
        starts.append(_first_answer(home))

    def median(times: list[tuple[float, float]], which: int) -> float:
        return round(statistics.median(one[which] for one in times), 3)

    ratios = [start[0] / base[0] for start, base in zip(starts, imports, strict=True)]
    by_cpu = [start[1] / base[1] for start, base in zip(starts, imports, strict=True)]
    return {
        "first_answer_seconds": median(starts, 0),
        "first_answer_cpu_seconds": median(starts, 1),
        "imports_seconds": median(imports, 0),
        "imports_cpu_seconds": median(imports, 1),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_by_cpu": round(statistics.median(by_cpu), 2),
        "ratio_target": TARGET,
    }


def _imports() -> tuple[float, float]:
    """Seconds of the clock and of CPU."""
    started = time.monotonic()
    _, cpu_seconds = run_to_end([sys.executable, "-c", IMPORTS])
    return time.monotonic() - started, cpu_seconds


def _first_answer(home: Path) -> tuple[float, float]:
    """Seconds of the clock and of CPU until GET /api/v1/projects is answered."""
    port = free_port()
    command = [*COMMAND, "serve", "--port", str(port), "--grpc-port", "0", "--metrics-port", "0"]
    started = time.monotonic()
    process = psutil.Popen(command, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/projects", timeout=5).close()
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() - started > _ANSWER_SECONDS_MAX:
                    raise RuntimeError("the server does not answer") from error
                time.sleep(0.005)
        seconds, used = time.monotonic() - started, process.cpu_times()
    finally:
        process.terminate()
        process.wait(STOP_SECONDS_MAX)
    return seconds, used.user + used.system


def line(figures: dict[str, Any]) -> str:
    """The figures as text."""
    said = "met" if figures["ratio"] <= TARGET else "not met"
    return (
        f"start: first answer after {figures['first_answer_seconds']} s, importing the libraries "
        f"{figures['imports_seconds']} s: {figures['ratio']} times (by CPU {figures['ratio_by_cpu']}), "
        f"target {TARGET}, {said}"
    )
