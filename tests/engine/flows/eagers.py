"""Eager workflows: tasks that launch executions themselves, with flytekit's own client, and wait for them."""

import asyncio
import os
import time

from flytekit import eager, task
from flytekit.exceptions.eager import EagerException
from graphs import add, double, fail, mark, twice


@eager
async def counted(x: int) -> int:
    """An execution of a task, and then one of a workflow."""
    return twice(x=double(x=x))


@eager
async def nested(x: int) -> int:
    """An eager workflow that launches another one."""
    return add(x=await counted(x=x), y=1)


@eager
async def failing(message: str) -> int:
    return fail(message=message)


@eager
async def forgiving(message: str) -> int:
    try:
        return fail(message=message)
    except EagerException:
        return double(x=21)


@eager
async def waiting(path: str, seconds: float) -> str:
    return mark(path=path, word="child", seconds=seconds, after="")


@task
async def leave_behind(path: str) -> str:
    mark.task_function(path=path, word="left behind")
    await asyncio.sleep(120.0)
    return path


@task
def fail_then(path: str) -> int:
    """Fails once the other one runs."""
    while not os.path.exists(path):
        time.sleep(0.1)
    return fail.task_function(message="boom")


@eager
async def leaving(path: str) -> int:
    """One child fails while the other one still runs."""
    other = asyncio.create_task(leave_behind(path=path))
    await asyncio.sleep(0)
    failed = fail_then(path=path)
    await other
    return failed


counted_workflow = counted.get_as_workflow()
nested_workflow = nested.get_as_workflow()
failing_workflow = failing.get_as_workflow()
forgiving_workflow = forgiving.get_as_workflow()
waiting_workflow = waiting.get_as_workflow()
leaving_workflow = leaving.get_as_workflow()
