"""One map that leaves lines in a file, for tests that do not need all of maps.py."""

import functools
import time

from flytekit import map_task, task, workflow


@task
def mark(word: str, path: str, seconds: float) -> str:
    """Leaves a line when it begins and another one when it ends."""
    with open(path, "a") as file:
        file.write(f"begin {word}\n")
    time.sleep(seconds)
    with open(path, "a") as file:
        file.write(f"end {word}\n")
    return word


@workflow
def marked(words: list[str], path: str, seconds: float) -> list[str]:
    return map_task(functools.partial(mark, path=path, seconds=seconds))(word=words)
