"""What compiling a workflow costs, by the number of its nodes: they pass a number on, one after the other."""

from __future__ import annotations

import time
from typing import Any

from app.compiler import compile_task, compile_workflow
from benchmarks.seed import a_task, chain

NODES = (6, 1_000, 10_000)
# The least of so many is the cost; the others waited for something.
TIMES = 5


def cpu_seconds(nodes: int) -> float:
    """CPU time of compiling a workflow of so many nodes."""
    registered = a_task()
    registered.spec.template.id.CopyFrom(registered.id)
    task = compile_task(registered.spec.template)
    template = chain(nodes, "long").spec.template
    found = []
    for _ in range(TIMES):
        started = time.process_time()
        compile_workflow(template, [], [task], [])
        found.append(time.process_time() - started)
    return min(found)


def figures() -> list[dict[str, Any]]:
    """Milliseconds of CPU time for each number of NODES."""
    return [{"nodes": nodes, "cpu_ms": round(cpu_seconds(nodes) * 1000, 2)} for nodes in NODES]


def line(figure: dict[str, Any]) -> str:
    """One figure as text."""
    return f"compiling {figure['nodes']:6,} nodes: {figure['cpu_ms']:9.2f} ms of CPU time"
