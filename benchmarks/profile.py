"""Where the server's time goes in one route: py-spy beside the load, functions by the samples that they are in."""

from __future__ import annotations

import collections
import subprocess
import sys
import threading
from pathlib import Path

from benchmarks import clients
from benchmarks.routes import Route
from benchmarks.servers import Bed, Missing

SAMPLES_PER_SECOND = 200
SHOWN = 45


def record(route: Route, bed: Bed, database: str, seconds: int) -> list[str]:
    """The functions of all workers with their share of the busy samples: in them or what they call, in them alone."""
    server, raw = bed.servers[database], bed.folder / "samples"
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists():
        raise Missing("py-spy is not in the environment; .venv/bin/pip install py-spy")
    clients.run(route, server, bed.folder, 1)
    load = threading.Thread(target=clients.run, args=(route, server, bed.folder, seconds + 2))
    load.start()
    try:
        command = [str(spy), "record", "--subprocesses", "-p", str(server.processes.root.pid), "-d", str(seconds)]
        command += ["-r", str(SAMPLES_PER_SECOND), "-f", "raw", "-F", "-o", str(raw)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"py-spy failed: {done.stderr}")
    finally:
        load.join()
    return shares(raw.read_text())


def shares(raw: str) -> list[str]:
    """Lines `within % · alone % · function` of py-spy's folded stacks, the largest first."""
    within: collections.Counter[str] = collections.Counter()
    alone: collections.Counter[str] = collections.Counter()
    total = 0
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame for frame in stack.split(";") if not frame.startswith("process ")]
        total += int(count)
        alone[frames[-1]] += int(count)
        within.update(dict.fromkeys(frames, int(count)))
    shown = (f"{within[f] / total:6.1%} {alone[f] / total:6.1%}  {f}" for f, _ in within.most_common(SHOWN))
    return [f"{total} samples", "within  alone", *shown]
