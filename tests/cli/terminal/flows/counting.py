"""A workflow that prints a line each half second."""

import time

from flytekit import task, workflow


@task
def number(n: int) -> int:
    for at in range(n):
        print(f"line {at}", flush=True)  # noqa: T201
        time.sleep(0.5)
    return n


@workflow
def count(n: int = 3) -> int:
    return number(n=n)
