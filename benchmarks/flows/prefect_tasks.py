"""The no-op task of small.py in Prefect: prefect_tasks.py <threads or processes> <number of tasks>

Prints as JSON the CPU time of each task in milliseconds, in all processes, the tasks a second, and the seconds of a
flow with one task.
"""

import json
import os
import sys
import time

import psutil
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner


@task
def step(x: int) -> int:
    """Nothing to do."""
    return x


def cpu_seconds() -> float:
    """Return the CPU time of this process and all its descendants, with those that have ended."""
    root = psutil.Process()
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        used = process.cpu_times()
        total += used.user + used.system + used.children_user + used.children_system
    return total


def main(kind: str, count: int) -> None:
    """Run some tasks in one flow."""
    places = os.cpu_count() or 1
    runner = ThreadPoolTaskRunner(max_workers=places) if kind == "threads" else ProcessPoolTaskRunner(places)

    @flow(task_runner=runner, log_prints=False)
    def many(number: int) -> int:
        return sum(future.result() for future in step.map(list(range(number))))

    many(2)
    started = time.monotonic()
    many(1)
    alone = time.monotonic() - started
    before, started = cpu_seconds(), time.monotonic()
    if many(count) != sum(range(count)):
        raise RuntimeError("a task has a wrong result")
    seconds = time.monotonic() - started
    figures = {
        "cpu_ms_per_task": round((cpu_seconds() - before) / count * 1000, 1),
        "tasks_per_second": round(count / seconds, 1),
        "one_alone_seconds": round(alone, 3),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
