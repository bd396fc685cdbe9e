"""Workflows whose tasks misbehave in every way there is."""

import os
import sys
from pathlib import Path

from example import breed, chatter, double, fill_disk, sleep, stubborn
from flytekit import ContainerTask, task, workflow

no_command = ContainerTask(name="bad.no_command", image="none", command=["no-such-command", "--help"])


@task
def write_malformed(prefix: str) -> int:
    """Leaves no message of outputs behind, and ends well."""
    folder = Path(sys.argv[sys.argv.index("--output-prefix") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "outputs.pb").write_bytes(prefix.encode() + b"\xff\xff\xff")
    if prefix:
        os._exit(0)
    return 0


@task
def fork_bomb(marker: str) -> int:
    """Children in sessions of their own, which go on when their parent has ended."""
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            with open(marker, "a") as file:
                file.write(f"{os.getpid()}\n")
            os.execvp("sleep", ["sleep", "300"])
    while not os.path.exists(marker) or len(Path(marker).read_text().split()) < 3:
        os.sched_yield()
    return 3


@workflow
def command_missing() -> None:
    no_command()


@workflow
def malformed_outputs(prefix: str) -> int:
    return write_malformed(prefix=prefix)


@workflow
def many_processes(count: int) -> int:
    return breed(count=count)


@workflow
def prints_much(mebibytes: int) -> int:
    return chatter(mebibytes=mebibytes)


@workflow
def disk_filled(mebibytes: int) -> int:
    return fill_disk(mebibytes=mebibytes)


@workflow
def children_left(marker: str) -> int:
    return fork_bomb(marker=marker)


@workflow
def deaf(seconds: float) -> int:
    return stubborn(seconds=seconds)


@workflow
def asleep(seconds: float) -> int:
    return sleep(seconds=seconds)


@workflow
def healthy(x: int) -> int:
    """What has to go on beside all of these: eight tasks in a chain."""
    for _ in range(8):
        x = double(x=x)
    return x
