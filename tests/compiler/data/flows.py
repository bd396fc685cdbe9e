"""Workflows of every shape that flytekit can make; the .pb files beside this one are what it makes of them.

To write them again, with flytekit 1.16 installed: `python flows.py`.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flyteidl.admin.launch_plan_pb2 import LaunchPlanList
from flyteidl.admin.task_pb2 import TaskList
from flytekit import (
    LaunchPlan,
    approve,
    conditional,
    current_context,
    dynamic,
    map_task,
    sleep,
    task,
    wait_for_input,
    workflow,
)
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.models.admin.workflow import WorkflowSpec
from flytekit.models.launch_plan import LaunchPlan as LaunchPlanModel
from flytekit.models.task import TaskSpec
from flytekit.tools.translator import get_serializable
from flytekit.types.file import FlyteFile


@dataclass
class Point:
    x: int
    y: int


@dataclass
class Line:
    start: Point
    names: list[str]


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Pair(NamedTuple):
    first: int
    second: str


@task
def double(a: int) -> int:
    return a * 2


@task
def describe(a: int, suffix: str = "!") -> str:
    return f"{a}{suffix}"


@task
def pair(a: int) -> Pair:
    return Pair(a, str(a))


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def line(a: int) -> Line:
    return Line(Point(a, a), ["n"])


@task
def table(a: int) -> dict[str, list[int]]:
    return {"k": [a]}


@task
def paint(colour: Colour) -> Colour:
    return colour


@task
def maybe(a: int | None = None, b: int | str = 3) -> str | None:
    return None if a is None else str(b)


@task
def read(file: FlyteFile) -> int:
    return 0


@task
def write() -> FlyteFile:
    return FlyteFile(str(Path(current_context().working_directory) / "f"))


@task
def clean_up(a: int) -> None:
    pass


@dynamic
def fan_out(a: int) -> list[int]:
    return [double(a=number) for number in range(a)]


@workflow
def chain(a: int = 3) -> str:
    first = double(a=a)
    return describe(a=first)


@workflow
def branches(a: int) -> int:
    start = double(a=a)
    return (
        conditional("size")
        .if_((start > 10) & (a > 1))
        .then(double(a=start))
        .elif_(start == 5)
        .then(add(a=start, b=a))
        .else_()
        .then(double(a=a))
    )


@workflow
def nested_branches(a: int, flag: bool) -> int:
    return (
        conditional("outer")
        .if_(flag.is_true())
        .then(conditional("inner").if_(a > 1).then(double(a=a)).else_().then(add(a=a, b=a)))
        .else_()
        .fail("no flag")
    )


@workflow
def inner(a: int) -> int:
    return double(a=double(a=a))


@workflow
def sub_workflows(a: int) -> int:
    first = inner(a=a)
    second = inner(a=first)
    return conditional("again").if_(second > 1).then(inner(a=second)).else_().then(double(a=second))


@workflow
def dynamic_and_map(a: int) -> int:
    many = fan_out(a=a)
    mapped = map_task(double)(a=many)
    more = map_task(partial(add, b=a), concurrency=2)(a=mapped)
    return total(numbers=more)


@workflow
def gates(a: int) -> int:
    asked = wait_for_input("number", timeout=timedelta(hours=1), expected_type=int)
    approved = approve(double(a=a), "go-on", timeout=timedelta(hours=1))
    rest = sleep(timedelta(seconds=5))
    final = add(a=approved, b=asked)
    rest >> final
    return final


@workflow(on_failure=clean_up)
def with_failure_node(a: int) -> int:
    return double(a=a)


@workflow
def attributes(a: int) -> str:
    made = line(a=a)
    numbers = table(a=a)
    summed = add(a=made.start.x, b=numbers["k"][0])
    return describe(a=summed, suffix=made.names[0])


@workflow
def types(colour: Colour, file: FlyteFile, name: str, a: int | None) -> str | None:
    paint(colour=colour)
    read(file=file)
    read(file=write())
    both = pair(a=3)
    maybe()
    return maybe(a=a, b=both.second)


inner_plan = LaunchPlan.get_or_create(inner, "inner_plan", default_inputs={"a": 4})


@workflow
def with_launch_plans(a: int) -> int:
    with_default = inner_plan()
    return add(a=with_default, b=inner_plan(a=a))


@workflow
def order(a: int) -> None:
    first = clean_up(a=a)
    second = clean_up(a=a)
    third = double(a=a).with_overrides(node_name="renamed")
    second >> first
    third >> second


FLOWS = (
    chain,
    branches,
    nested_branches,
    sub_workflows,
    dynamic_and_map,
    gates,
    with_failure_node,
    attributes,
    types,
    with_launch_plans,
    order,
)


def main() -> None:
    """Serialise each workflow as a client would register it, and all tasks and launch plans beside them."""
    folder = Path(__file__).parent
    settings = SerializationSettings(
        project="p",
        domain="development",
        version="v1",
        image_config=ImageConfig(default_image=Image("default", "registry.example/flows", "1")),
    )
    entities: OrderedDict = OrderedDict()
    for flow in FLOWS:
        spec = get_serializable(entities, settings, flow)
        (folder / f"{flow.__name__}.pb").write_bytes(spec.to_flyte_idl().SerializeToString(deterministic=True))
    tasks, plans = TaskList(), LaunchPlanList()
    for entity in entities.values():
        if isinstance(entity, TaskSpec):
            made = tasks.tasks.add()
            made.closure.compiled_task.template.CopyFrom(entity.template.to_flyte_idl())
        elif isinstance(entity, LaunchPlanModel):
            plans.launch_plans.add().CopyFrom(entity.to_flyte_idl())
        elif isinstance(entity, WorkflowSpec):
            continue
    (folder / "tasks.pb").write_bytes(tasks.SerializeToString(deterministic=True))
    (folder / "launch_plans.pb").write_bytes(plans.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
