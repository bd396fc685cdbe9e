"""Workflows whose tasks are cached, registered by the tests of the engine.

Tasks leave lines in a file, so that runs can be counted; its path is one of their inputs, so every test has entries of
its own.
"""

import os
import time
from typing import Annotated

from flytekit import Cache, HashMethod, LaunchPlan, task, workflow
from flytekit.types.file import FlyteFile


def leave(path: str, word: object) -> None:
    with open(path, "a") as file:
        file.write(f"{word}\n")


@task(cache=Cache(version="1"))
def doubled(path: str, x: int) -> int:
    leave(path, x)
    return 2 * x


@workflow
def one(path: str, x: int) -> int:
    return doubled(path=path, x=x)


@workflow
def two(path: str, x: int) -> int:
    """What is put out by a task that is taken over is taken over itself."""
    return doubled(path=path, x=doubled(path=path, x=x))


@workflow
def newer(path: str, x: int) -> int:
    return doubled(path=path, x=x).with_overrides(cache=Cache(version="2"))


@workflow
def uncached(path: str, x: int) -> int:
    return doubled(path=path, x=x).with_overrides(cache=False)


@task(cache=Cache(version="1", ignored_inputs=("noise",)))
def without_noise(path: str, x: int, noise: int) -> int:
    leave(path, noise)
    return x + noise


@workflow
def noisy(path: str, x: int, noise: int) -> int:
    return without_noise(path=path, x=x, noise=noise)


@task
def alike(word: str) -> Annotated[str, HashMethod(lambda word: word.lower())]:
    return word


@task(cache=Cache(version="1"))
def repeated(path: str, word: str) -> str:
    leave(path, word)
    return 2 * word


@workflow
def hashed(path: str, word: str) -> str:
    return repeated(path=path, word=alike(word=word))


@task(cache=Cache(version="1"))
def written(path: str, text: str) -> FlyteFile:
    leave(path, text)
    with open("written.txt", "w") as file:
        file.write(text)
    return FlyteFile("written.txt")


@task
def read(file: FlyteFile) -> str:
    with open(file) as opened:
        return opened.read()


@workflow
def through_a_file(path: str, text: str) -> str:
    return read(file=written(path=path, text=text))


@task(cache=Cache(version="1"))
def noted(path: str) -> None:
    """There is nothing to take over of a task without outputs."""
    leave(path, "noted")


@workflow
def without_outputs(path: str) -> None:
    noted(path=path)


@task(cache=Cache(version="1", serialize=True), retries=1)
def slow(path: str, seconds: float) -> float:
    """Sleeps, at most until the file PATH.go is there."""
    leave(path, "began")
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not os.path.exists(f"{path}.go"):
        time.sleep(min(left, 0.2))
    leave(path, "ended")
    return seconds


@workflow
def serialized(path: str, seconds: float) -> float:
    return slow(path=path, seconds=seconds)


@task(cache=Cache(version="1", serialize=True))
def refused(path: str, flag: str, seconds: float) -> str:
    """Fails as long as the file is not there."""
    leave(path, "began")
    time.sleep(seconds)
    if not os.path.exists(flag):
        raise ValueError(f"{flag} is not there")
    return flag


@workflow
def serialized_failing(path: str, flag: str, seconds: float) -> str:
    return refused(path=path, flag=flag, seconds=seconds)


@workflow
def half(path: str, x: int, flag: str) -> str:
    """A task that is cached, and one that fails as long as the file is not there."""
    return fails(x=doubled(path=path, x=x), flag=flag)


@task
def fails(x: int, flag: str) -> str:
    if not os.path.exists(flag):
        raise ValueError(f"{flag} is not there")
    return str(x)


one_plan = LaunchPlan.get_or_create(one, name="caches.one_plan")
always_new = LaunchPlan.get_or_create(one, name="caches.always_new", overwrite_cache=True)


@workflow
def parent(path: str, x: int) -> int:
    return one_plan(path=path, x=x)
