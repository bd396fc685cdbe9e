"""Values at every place where the engine stores or reads them, of a size that the launch gives."""

from __future__ import annotations

from flytekit import LaunchPlan, dynamic, map_task, task, workflow

PIECES = 4


@task
def text(size: int) -> str:
    return "x" * size


@task
def indexed(size: int, index: int) -> str:
    return str(index) * size


@task
def sizes(size: int) -> list[int]:
    return [size] * PIECES


@task
def length(one: str) -> int:
    return len(one)


@task
def total(many: list[str]) -> int:
    return sum(map(len, many))


@task
def summed(numbers: list[int]) -> int:
    return sum(numbers)


@task(cache=True, cache_version="1")
def cached(one: str) -> str:
    return one


@workflow
def pair(size: int) -> tuple[str, str]:
    return text(size=size), text(size=size)


PAIR = LaunchPlan.get_or_create(pair, name="sizes.pair_plan")


@dynamic
def made(size: int) -> list[str]:
    return [text(size=size) for _ in range(PIECES)]


@workflow
def sites(size: int) -> list[int]:
    """A task, a map and a map over it, a list of promises and an element of it, a child, a dynamic task, a cache."""
    one = text(size=size)
    many = map_task(text)(size=sizes(size=size))
    again = map_task(length)(one=many)
    inner, other = pair(size=size)
    a, b = PAIR(size=size)
    return [
        length(one=one),
        total(many=many),
        summed(numbers=again),
        total(many=[inner, other, one]),
        total(many=[a, b]),
        total(many=made(size=size)),
        length(one=many[2]),
        length(one=cached(one=one)),
    ]


@task
def in_thread_if_large(size: int) -> tuple[str, str, str]:
    return "x" * size, "y" * size, "z" * size


@workflow
def too_large(size: int) -> tuple[str, str, str]:
    return in_thread_if_large(size=size)


@workflow
def given(one: str) -> int:
    return length(one=one)
