"""Workflows with maps; side effects are lines in files, so that runs can be counted."""

import functools
import os
import signal
import time
from datetime import timedelta

from flytekit import LaunchPlan, map_task, task, workflow
from flytekit.configuration import SerializationSettings
from flytekit.core.interface import Interface
from flytekit.core.legacy_map_task import MapPythonTask
from flytekit.core.python_function_task import PythonInstanceTask
from flytekit.exceptions.user import FlyteRecoverableException
from flytekit.models.task import Container, Resources


def leave(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(f"{text}\n")


@task
def double(x: int) -> int:
    return 2 * x


@task
def scaled(x: int, y: int, factor: int) -> int:
    return factor * x + y


@task
def odd_fails(x: int) -> int:
    if x % 2:
        raise ValueError(f"odd: {x}")
    return x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def count_up_to(n: int) -> list[int]:
    return list(range(n))


@task
def known(xs: list[int | None]) -> list[int]:
    """Those that are there."""
    return [x for x in xs if x is not None]


@task(retries=2)
def odd_fails_once(x: int, folder: str) -> int:
    """Odd elements fail recoverably until their second attempt."""
    path = os.path.join(folder, f"retried-{x}")
    leave(path, "run")
    if x % 2 and not os.path.exists(path + "-again"):
        leave(path + "-again", "now")
        raise FlyteRecoverableException("not yet")
    return x


@task(retries=1)
def never(x: int) -> int:
    if x:
        raise FlyteRecoverableException("never")
    return x


@task
def kill_itself(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


# Longer than the start of an interpreter, which the portable twin of app/system needs.
@task(timeout=timedelta(seconds=8), retries=1)
def slow_if_odd(x: int) -> int:
    time.sleep(60.0 if x % 2 else 0.0)
    return x


@task(cache=True, cache_version="1")
def kept(x: int, path: str) -> int:
    leave(path, str(x))
    return 3 * x


@task
def mark(word: str, path: str, seconds: float) -> str:
    """Leaves a line when it begins and another one when it ends."""
    leave(path, f"begin {word}")
    time.sleep(seconds)
    leave(path, f"end {word}")
    return word


@task
def fail_after(seconds: float) -> None:
    time.sleep(seconds)
    raise ValueError("boom")


@workflow
def doubled(n: int) -> list[int]:
    return map_task(double)(x=count_up_to(n=n))


@workflow
def summed(n: int) -> int:
    """A map inside a sub-workflow, and a task that reads what it has put out."""
    return total(xs=doubled(n=n))


@workflow
def partial(xs: list[int], ys: list[int], factor: int) -> list[int]:
    return map_task(functools.partial(scaled, factor=factor))(x=xs, y=ys)


@workflow
def half(xs: list[int]) -> list[int]:
    return known(xs=map_task(odd_fails, min_success_ratio=0.5, concurrency=2)(x=xs))


@workflow
def some(xs: list[int]) -> list[int | None]:
    return map_task(odd_fails, min_successes=1, min_success_ratio=None)(x=xs)


@workflow
def all_of_them(xs: list[int]) -> list[int]:
    return map_task(odd_fails)(x=xs)


@workflow
def retried(xs: list[int], folder: str) -> list[int]:
    return map_task(functools.partial(odd_fails_once, folder=folder))(x=xs)


@workflow
def exhausted(xs: list[int]) -> list[int]:
    return map_task(never)(x=xs)


@workflow
def killed(xs: list[int]) -> list[int]:
    return map_task(kill_itself)(x=xs)


@workflow
def late_indices(xs: list[int]) -> list[int]:
    return map_task(slow_if_odd)(x=xs)


@workflow
def marked(words: list[str], path: str, seconds: float) -> list[str]:
    return map_task(functools.partial(mark, path=path, seconds=seconds), concurrency=2)(word=words)


@workflow
def wide(words: list[str], path: str, seconds: float) -> list[str]:
    """As many at a time as the machine allows."""
    return map_task(functools.partial(mark, path=path, seconds=seconds))(word=words)


@workflow
def late_map(words: list[str], path: str) -> list[str]:
    """The timeout of an old map is the whole node's; that of a map of today goes to each index."""
    old_marks = MapPythonTask(functools.partial(mark, path=path, seconds=600.0), min_success_ratio=1.0)
    return old_marks(word=words).with_overrides(timeout=timedelta(seconds=2))


@workflow
def beside_a_failure(words: list[str], path: str) -> list[str]:
    """The map leaves a place for the task that fails."""
    fail_after(seconds=1.0)
    return map_task(functools.partial(mark, path=path, seconds=600.0), concurrency=1)(word=words)


@workflow
def cached(xs: list[int], path: str) -> list[int]:
    return map_task(functools.partial(kept, path=path))(x=xs)


@workflow
def one(x: int) -> int:
    return odd_fails(x=x)


@workflow
def one_marked(word: str, path: str, seconds: float) -> str:
    return mark(word=word, path=path, seconds=seconds)


one_plan = LaunchPlan.get_or_create(one, name="maps.one_plan")
marked_plan = LaunchPlan.get_or_create(one_marked, name="maps.marked_plan")


@workflow
def plans(xs: list[int]) -> list[int]:
    return map_task(one_plan)(x=xs)


@workflow
def half_of_plans(xs: list[int]) -> list[int]:
    return known(xs=map_task(one_plan, min_success_ratio=0.5)(x=xs))


@workflow
def marked_plans(words: list[str], paths: list[str], seconds: list[float]) -> list[str]:
    return map_task(marked_plan, concurrency=2)(word=words, path=paths, seconds=seconds)


old_map = MapPythonTask(double, min_success_ratio=1.0)


@workflow
def old(xs: list[int]) -> list[int]:
    """The map that flytekit made before there were array nodes."""
    return old_map(x=xs)


class Plain(PythonInstanceTask):
    """A task that runs a line of shell instead of flytekit: what is left is the engine's own work."""

    def __init__(self, name: str, command: str, **inputs: type) -> None:
        self._line = command
        super().__init__(name=name, task_config=None, interface=Interface(inputs=inputs, outputs={}))

    def get_container(self, settings: SerializationSettings) -> Container:
        return Container("none", [], ["/bin/sh", "-c", self._line], Resources([], []), {}, {})

    def execute(self, **inputs: object) -> None:
        return None


tiny = Plain("maps.tiny", "exit 0", x=int)
counted = Plain("maps.counted", 'echo "+ $FLYTE_K8S_ARRAY_INDEX" >> $COUNTED; echo - >> $COUNTED', x=int)


@workflow
def many(n: int) -> None:
    """The cheapest indices there are."""
    map_task(tiny)(x=count_up_to(n=n))


@workflow
def many_counted(n: int) -> None:
    """Lines of beginnings and ends, in the file that the variable COUNTED names."""
    map_task(counted)(x=count_up_to(n=n))


@workflow
def one_counted(x: int) -> None:
    counted(x=x)
