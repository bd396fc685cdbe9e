"""Workflows of every shape that the graph layer runs; side effects are lines in files, so that runs can be counted."""

import os
import signal
import time
from datetime import timedelta

from flytekit import (
    ContainerTask,
    Deck,
    LaunchPlan,
    WorkflowFailurePolicy,
    approve,
    conditional,
    current_context,
    dynamic,
    sleep,
    task,
    wait_for_input,
    workflow,
)
from flytekit.exceptions.user import FlyteRecoverableException
from flytekit.types.error.error import FlyteError


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def double(x: int) -> int:
    return 2 * x


@task
def mark(path: str, word: str, seconds: float = 0.0, after: str = "") -> str:
    """Leaves a line, takes its time, and leaves another one."""
    with open(path, "a") as file:
        file.write(f"{word}\n")
    time.sleep(seconds)
    return word


@task
def fail(message: str) -> int:
    if message:
        raise ValueError(message)
    return 0


@task(enable_deck=True)
def fail_with_deck(message: str) -> int:
    if message:
        raise ValueError(message)
    return 0


@task(retries=1)
def fail_for_now(message: str) -> int:
    if message:
        raise FlyteRecoverableException(message)
    return 0


@task
def kill_itself(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


@workflow
def twice(x: int) -> int:
    return double(x=double(x=x))


@workflow
def nested(x: int) -> int:
    """A sub-workflow with a sub-workflow inside, beside a task."""

    @workflow
    def inner(y: int) -> int:
        return twice(x=add(x=y, y=1))

    return add(x=inner(y=x), y=double(x=x))


@workflow
def failing(message: str) -> int:
    return fail(message=message)


@workflow
def failing_with_deck(message: str) -> int:
    return fail_with_deck(message=message)


@workflow
def failing_for_now(message: str) -> int:
    return fail_for_now(message=message)


@workflow
def killed(x: int) -> int:
    return kill_itself(x=x)


@workflow(failure_policy=WorkflowFailurePolicy.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE)
def fails_in_the_end(path: str) -> int:
    """The failure's dependants are skipped; what does not depend on it runs."""
    broken = fail(message="no")
    more = double(x=broken)
    mark(path=path, word="first", seconds=1.0) >> mark(path=path, word="second")
    return more


@workflow
def fails_at_once(path: str) -> int:
    """The sleeper is aborted when the other task fails; what waits for it never starts."""
    mark(path=path, word="sleeper", seconds=60.0) >> mark(path=path, word="never")
    return fail(message="no")


@task
def clean_up(path: str, err: FlyteError | None = None) -> None:
    with open(path, "a") as file:
        file.write(f"{err.failed_node_id if err else '?'}: {err.message if err else ''}\n")


@task
def clean_up_badly(path: str, err: FlyteError | None = None) -> None:
    raise ValueError(f"not cleaned {path}")


@workflow(on_failure=clean_up)
def cleaned(path: str) -> int:
    return fail(message="dirty")


@workflow(on_failure=clean_up_badly)
def not_cleaned(path: str) -> int:
    return fail(message="dirty")


@workflow
def cleaned_inside(path: str) -> int:
    """The failure node belongs to the sub-workflow."""
    return add(x=cleaned(path=path), y=1)


@workflow
def choices(x: int) -> int:
    """A branch with a branch inside; below 1 it is a failure."""
    return (
        conditional("outer")
        .if_(x > 100)
        .then(
            conditional("inner").if_(x > 1000).then(double(x=x)).else_().then(add(x=x, y=1))  # type: ignore
        )
        .elif_((x > 10) & (x <= 100))
        .then(twice(x=x))
        .elif_(x == 1)
        .then(double(x=x))
        .else_()
        .fail("too small")
    )


@workflow
def choice_that_waits(path: str, x: int) -> str:
    """The chosen node needs a node that the branch itself does not wait for."""
    slow = mark(path=path, word="slow", seconds=1.0)
    return conditional("now").if_(x > 0).then(mark(path=path, word="after", after=slow)).else_().fail("no")


@workflow
def gated(x: int) -> int:
    """An approval, a value from outside and a pause."""
    doubled = double(x=x)
    approved = approve(doubled, "fine", timeout=timedelta(hours=1))
    given = wait_for_input("number", timeout=timedelta(hours=1), expected_type=int)
    pause = sleep(timedelta(seconds=1))
    total = add(x=approved, y=given)
    pause >> total
    return total


@workflow
def impatient() -> int:
    """Nobody says a number in time."""
    return double(x=wait_for_input("number", timeout=timedelta(seconds=1), expected_type=int))


@task(timeout=timedelta(seconds=2))
def too_slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task(timeout=timedelta(seconds=2), retries=2)
def too_slow_again(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@workflow
def late(seconds: float) -> float:
    return too_slow(seconds=seconds)


@workflow
def late_again(seconds: float) -> float:
    return too_slow_again(seconds=seconds)


# The timeout counts from the start of the process: with the portable twin of app/system that is a new interpreter.
@task(timeout=timedelta(seconds=8), retries=4)
def slow_thrice(path: str) -> int:
    """Sleep in the first three attempts; the number of attempts before."""
    with open(path, "a+") as file:
        file.seek(0)
        before = len(file.readlines())
        file.write("called\n")
    if before < 3:
        time.sleep(60)
    return before


@workflow
def in_time_at_last(path: str) -> int:
    return slow_thrice(path=path)


@workflow
def slow_inside(path: str) -> str:
    return mark(path=path, word="inside", seconds=60.0)


@workflow
def late_sub_workflow(path: str) -> str:
    return slow_inside(path=path).with_overrides(timeout=timedelta(seconds=2))


twice_plan = LaunchPlan.get_or_create(twice, name="graphs.twice_plan")
failing_plan = LaunchPlan.get_or_create(failing, name="graphs.failing_plan")
slow_plan = LaunchPlan.get_or_create(slow_inside, name="graphs.slow_plan")


@workflow
def parent(x: int) -> int:
    return add(x=twice_plan(x=x), y=1)


@workflow
def late_plan(path: str) -> str:
    return slow_plan(path=path).with_overrides(timeout=timedelta(seconds=2))


@workflow
def parent_of_failing(message: str) -> int:
    return failing_plan(message=message)


@workflow
def parent_of_slow(path: str) -> str:
    return slow_plan(path=path)


@task
def fail_once(path: str, word: str) -> str:
    """Fails as long as the file is not there."""
    if not os.path.exists(path):
        raise ValueError(f"{path} is not there")
    return word


@workflow
def half(path: str, flag: str) -> str:
    return fail_once(path=flag, word=mark(path=path, word="inside"))


half_plan = LaunchPlan.get_or_create(half, name="graphs.half_plan")


@workflow
def recoverable(path: str, flag: str) -> str:
    """Succeeds partly, at every level, until the flag is there."""
    first = mark(path=path, word="first")
    second = half(path=path, flag=flag)
    third = half_plan(path=path, flag=flag)
    return mark(path=path, word="last", after=join(a=first, b=second, c=third))


@task
def join(a: str, b: str, c: str) -> str:
    return a + b + c


@task(retries=1)
def with_checkpoint(flag: str) -> str:
    """Leaves a checkpoint, fails as long as the file is not there, and then tells what it found."""
    checkpoint = current_context().checkpoint
    found = checkpoint.read()
    checkpoint.write(b"half done")
    if not os.path.exists(flag):
        raise ValueError("not yet")
    return (found or b"nothing").decode()


@workflow
def checkpointed(flag: str) -> str:
    return with_checkpoint(flag=flag)


@workflow
def step(path: str, word: str, x: int, seconds: float) -> int:
    """Part of the workflow that is interrupted: tasks after one another, and a branch."""
    marked = mark(path=path, word=word, seconds=seconds)
    chosen = conditional("size").if_(x > 1).then(double(x=x)).else_().then(add(x=x, y=100))
    marked >> chosen
    return add(x=chosen, y=1)


@workflow
def long_run(path: str, seconds: float) -> int:
    """What is killed at random moments: tasks, sub-workflows and branches in a chain and side by side."""
    a = step(path=path, word="a", x=1, seconds=seconds)
    b = step(path=path, word="b", x=2, seconds=seconds)
    c = add(x=a, y=b)
    d = step(path=path, word="d", x=c, seconds=seconds)
    mark(path=path, word="e", seconds=seconds)
    return d


@workflow
def wide(path: str, seconds: float) -> str:
    """Tasks side by side, for the limits."""
    for index in range(4):
        last = mark(path=path, word=str(index), seconds=seconds)
    return last


@workflow
def pause() -> None:
    sleep(timedelta(seconds=6))


nothing_much = ContainerTask(name="graphs.nothing_much", image="none", command=["/bin/true"])


@workflow
def small() -> None:
    """The cheapest task there is: what is left is the engine's own work."""
    nothing_much()


@task
def positive(x: int) -> int | None:
    return x if x > 0 else None


@task
def said(word: str) -> str:
    return word


@workflow
def with_nothing(x: int, given: int | None = None) -> tuple[str, str]:
    """Conditions on "nothing": an output and an input, alone and combined."""
    found = positive(x=x)
    one = conditional("one").if_(found.is_none()).then(said(word="none")).else_().then(said(word="some"))
    both = (
        conditional("both")
        .if_((found.is_none()) & (given.is_none()))  # type: ignore
        .then(said(word="neither"))
        .elif_((found != None) & (given != None))  # type: ignore  # noqa: E711
        .then(said(word="both"))
        .else_()
        .then(said(word="one"))
    )
    return one, both


def _show(path: str) -> None:
    Deck("mine", "<b>seen</b>")
    Deck.publish()
    with open(path, "a") as file:
        file.write("published\n")


@task(enable_deck=True)
def show(path: str) -> None:
    _show(path)
    time.sleep(60)


@task
def fail_when_shown(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.1)
    raise ValueError("no more")


@dynamic(enable_deck=True)
def show_dynamic(path: str) -> None:
    _show(path)
    show(path=path)


@workflow
def showing(path: str) -> None:
    show(path=path)


@workflow
def showing_late(path: str) -> None:
    show(path=path).with_overrides(timeout=timedelta(seconds=4), retries=1)


@workflow
def showing_beside_a_failure(path: str) -> None:
    show(path=path)
    fail_when_shown(path=path)


@workflow
def showing_dynamic(path: str) -> None:
    show_dynamic(path=path)


@task(enable_deck=True)
def begin(path: str) -> None:
    open(path, "w").close()
    time.sleep(60)


@workflow
def long_with_deck(path: str) -> None:
    begin(path=path)
