"""One small map, for the tests that must not take long."""

from flytekit import map_task, task, workflow


@task
def small(x: int) -> int:
    if x > 2:
        raise ValueError("too large")
    return 10 * x


@task
def known(xs: list[int | None]) -> list[int]:
    return [x for x in xs if x is not None]


@workflow
def most(xs: list[int]) -> list[int]:
    return known(xs=map_task(small, min_success_ratio=0.5, concurrency=2)(x=xs))
