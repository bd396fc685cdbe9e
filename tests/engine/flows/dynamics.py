"""Workflows whose tasks ask for nodes (dynamic), beside those of graphs.py."""

from datetime import timedelta

from flytekit import LaunchPlan, conditional, dynamic, map_task, reference_launch_plan, task, workflow
from flytekit.exceptions.user import FlyteRecoverableException
from graphs import add, choices, double, fail, half, half_plan, join, mark, nested, too_slow_again, twice

nested_plan = LaunchPlan.get_or_create(nested, name="dynamics.nested_plan")


def note(path: str, word: str) -> None:
    """Leave a line from the body of a dynamic task."""
    with open(path, "a") as file:
        file.write(f"{word}\n")


@task
def total(values: list[int]) -> int:
    return sum(values)


@dynamic
def fan_out(n: int) -> list[int]:
    return [double(x=x) for x in range(n)]


@workflow
def summed(n: int) -> int:
    return total(values=fan_out(n=n))


@dynamic
def planned(x: int) -> int:
    """A task and a sub-workflow."""
    return twice(x=add(x=x, y=1))


@workflow
def sample(x: int) -> int:
    """One node of each kind: the ids of those inside the dynamic one are well known."""
    first = add(x=x, y=1)
    second = twice(x=first)
    third = planned(x=x)
    fourth = add(x=second, y=third)
    return conditional("size").if_(fourth > 100).then(double(x=fourth)).else_().then(add(x=fourth, y=0))


@dynamic
def mapped(n: int) -> int:
    """A map, whose size is known before the task that sums it up is there."""
    return total(values=map_task(double)(x=list(range(n))))


@dynamic
def everything(x: int) -> int:
    """All that a dynamic task may ask for."""
    return add(x=add(x=nested_plan(x=x), y=choices(x=double(x=x))), y=add(x=fan_in(n=countdown(n=2)), y=mapped(n=5)))


@dynamic
def fan_in(n: int) -> int:
    return total(values=fan_out(n=n))


@dynamic
def countdown(n: int) -> int:
    """Dynamic nodes inside one another, until one of them asks for nothing."""
    if n == 0:
        return 7
    return countdown(n=n - 1)


@workflow
def inside(x: int) -> int:
    """A dynamic node in a sub-workflow and one in a branch."""

    @workflow
    def below(y: int) -> int:
        return planned(x=y)

    chosen = conditional("size").if_(x > 1).then(everything(x=x)).else_().fail("too small")
    return add(x=below(y=x), y=chosen)


@workflow
def constant(x: int) -> int:
    """A dynamic task that asks for no nodes."""

    return countdown(n=x)


@dynamic
def silent(path: str) -> None:
    mark(path=path, word="heard")


@workflow
def no_outputs(path: str) -> None:
    silent(path=path)


@dynamic(retries=2)
def broken(path: str) -> int:
    mark(path=path, word="sleeper", seconds=60.0)
    return fail(message="boom")


@workflow
def broken_inside(path: str) -> int:
    return broken(path=path)


@dynamic(retries=1)
def impatient(path: str) -> float:
    note(path=path, word="planned")
    return too_slow_again(seconds=60.0)


@workflow
def late_inside(path: str) -> float:
    return impatient(path=path)


@dynamic(timeout=timedelta(seconds=4), retries=1)
def slow(path: str) -> str:
    note(path=path, word="planned")
    return mark(path=path, word="sleeper", seconds=60.0)


@workflow
def late(path: str) -> str:
    return slow(path=path)


@dynamic(retries=1)
def second_try(path: str) -> int:
    note(path=path, word="planned")
    with open(path) as file:
        lines = file.readlines()
    if len(lines) == 1:
        raise FlyteRecoverableException("not yet")
    return double(x=21)


@workflow
def tried_again(path: str) -> int:
    return second_try(path=path)


@dynamic
def mistyped(x: int) -> str:
    return double(x=x)  # type: ignore


@workflow
def malformed(x: int) -> str:
    return mistyped(x=x)


@reference_launch_plan("flytesnacks", "development", "dynamics.nowhere", "v0")
def nowhere(x: int) -> int: ...


@dynamic
def astray(x: int) -> int:
    return nowhere(x=x)


@workflow
def misled(x: int) -> int:
    return astray(x=x)


@dynamic(cache=True, cache_version="1.0")
def remembered(path: str) -> str:
    note(path=path, word="planned")
    return mark(path=path, word="run")


@workflow
def cached(path: str) -> str:
    return remembered(path=path)


@dynamic
def half_done(path: str, flag: str) -> str:
    note(path=path, word="planned")
    first = mark(path=path, word="first")
    return join(a=first, b=half(path=path, flag=flag), c=half_plan(path=path, flag=flag))


@dynamic
def all_done(path: str) -> str:
    note(path=path, word="planned before")
    return mark(path=path, word="before")


@workflow
def recoverable(path: str, flag: str) -> str:
    """Succeeds partly, inside a dynamic node, until the flag is there."""
    return join(a=half_done(path=path, flag=flag), b=all_done(path=path), c="")


@dynamic
def steps(path: str, seconds: float) -> str:
    """What is interrupted: tasks after one another, a sub-workflow's between them."""
    note(path=path, word="planned")
    last = mark(path=path, word="a", seconds=seconds)
    last = mark(path=path, word="b", seconds=seconds, after=last)
    last = one_more(path=path, seconds=seconds, after=last)
    return mark(path=path, word="d", seconds=seconds, after=last)


@workflow
def one_more(path: str, seconds: float, after: str) -> str:
    return deeper(path=path, seconds=seconds, after=after)


@dynamic
def deeper(path: str, seconds: float, after: str) -> str:
    note(path=path, word="deeper")
    return mark(path=path, word="c", seconds=seconds, after=after)


@workflow
def long_run(path: str, seconds: float) -> str:
    return steps(path=path, seconds=seconds)
