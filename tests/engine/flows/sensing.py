"""Sensors: flytekit's own for files, and ones that a user writes; a task that begins when they end."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from flytekit import task, workflow
from flytekit.sensor.base_sensor import BaseSensor
from flytekit.sensor.file_sensor import FileSensor


def add_line(path: str, line: str) -> int:
    """Append a line; the number of lines there are now."""
    with open(path, "a") as file:
        file.write(f"{line}\n")
    with open(path) as file:
        return len(file.readlines())


class CountedSensor(BaseSensor):
    """True at its n-th poke."""

    async def poke(self, path: str, n: int, since: datetime) -> bool:
        return add_line(path, str(since.year)) >= n


class FailingSensor(BaseSensor):
    async def poke(self, path: str) -> bool:
        add_line(path, "poked")
        raise ValueError("boom")


class UnmadeSensor(BaseSensor):
    def __init__(self, name: str, **more: object) -> None:
        if name == "sensor":
            raise ValueError("cannot be made again")
        super().__init__(name=name, **more)

    async def poke(self) -> bool:
        return True


there = FileSensor(name="there")
there_soon = FileSensor(name="there_soon", timeout=timedelta(seconds=3))
counted = CountedSensor(name="counted")
failing = FailingSensor(name="failing")
unmade = UnmadeSensor(name="unmade")


@task
def size(path: str) -> int:
    return os.path.getsize(path)


@workflow
def sensed(path: str) -> int:
    found = size(path=path)
    there(path=path) >> found
    return found


@workflow
def sensed_soon(path: str) -> None:
    there_soon(path=path)


@workflow
def sensed_in_the_end(path: str, n: int, since: datetime) -> None:
    counted(path=path, n=n, since=since)


@workflow
def sensed_badly(path: str) -> None:
    failing(path=path)


@workflow
def not_sensed() -> None:
    unmade()
