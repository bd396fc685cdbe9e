"""The same no-op task in Prefect, in an environment of its own that `make bench` does not make by itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.servers import Missing

FLOW = Path(__file__).parent / "flows" / "prefect_tasks.py"
PYTHON = Path(__file__).parents[1] / ".cache" / "bench" / "prefect" / "bin" / "python"
TASKS = {"threads": 300, "processes": 60}
SECONDS_MAX = 300


def measure(folder: Path, kind: str) -> dict[str, Any]:
    """Run tasks of Prefect in a home of its own, in threads or in processes."""
    if not PYTHON.exists():
        raise Missing("Prefect is not installed for this; `make .cache/bench/prefect` does it")
    quiet = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_LOGGING_LEVEL": "ERROR", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [str(PYTHON), str(FLOW), kind, str(TASKS[kind])],
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the tasks of Prefect failed: {done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"kind": kind, "tasks": TASKS[kind], **figures}


def line(figures: dict[str, Any]) -> str:
    """The figures as text."""
    return (
        f"Prefect, tasks in {figures['kind']}: {figures['cpu_ms_per_task']} ms CPU of all processes for each, "
        f"{figures['tasks_per_second']} a second; one alone {figures['one_alone_seconds']} s from launch to end"
    )
