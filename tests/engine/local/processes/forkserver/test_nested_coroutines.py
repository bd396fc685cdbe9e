"""Functions of flytekit that run a coroutine work below code that runs in an event loop already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.conftest import Bench, check_outputs

pytestmark = pytest.mark.slow

_MODULE = """
import asyncio
import pathlib
import threading

from flytekit import FlyteContextManager, task
from flytekit.core.type_engine import SimpleTransformer, TypeEngine
from flytekit.models.literals import Literal, Primitive, Scalar
from flytekit.models.types import LiteralType, SimpleType


def stored(text: str) -> str:
    # Writes and reads a file by two functions of flytekit, which run one coroutine each.
    access = FlyteContextManager.current_context().file_access
    target = access.get_random_local_path()
    access.get_data(access.put_raw_data(text.encode()), target)
    return pathlib.Path(target).read_text()


@task
async def below_own_loop_of_flytekit() -> str:
    await asyncio.sleep(0)
    before = stored("before")
    await asyncio.sleep(0)
    return f"{before} {stored('after')}"


@task
def below_a_loop_of_the_task() -> str:
    async def main() -> str:
        found = [stored("main")]
        found += await asyncio.gather(*(asyncio.to_thread(stored, str(number)) for number in range(3)))
        return " ".join(found)

    first = asyncio.run(main())
    loop = asyncio.new_event_loop()
    second = loop.run_until_complete(main())
    loop.close()
    return f"{first}, {second}, {stored('none')}"


@task
def in_a_thread() -> str:
    found = []
    thread = threading.Thread(target=lambda: found.append(stored("thread")))
    thread.start()
    thread.join()
    return f"{found[0]} {stored('main')}"


class Shape:
    def __init__(self, name: str) -> None:
        self.name = name


# Outputs and inputs are converted in a coroutine of flytekit, which calls these two functions.
TypeEngine.register(
    SimpleTransformer(
        "shape",
        Shape,
        LiteralType(simple=SimpleType.STRING),
        lambda shape: Literal(scalar=Scalar(primitive=Primitive(string_value=stored(shape.name)))),
        lambda literal: Shape(stored(literal.scalar.primitive.string_value)),
    )
)


@task
def converted() -> Shape:
    return Shape("round")
"""


def test_functions_of_flytekit_work_below_a_running_loop(
    bench: Callable[..., Bench], serialize: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "nested.py").write_text(_MODULE)
    serialize("nested", tmp_path, tmp_path)
    made = bench(python_path=str(tmp_path))
    made.templates = tmp_path
    expected = {
        "below_own_loop_of_flytekit": "before after",
        "below_a_loop_of_the_task": "main 0 1 2, main 0 1 2, none",
        "in_a_thread": "thread main",
        "converted": "round",
    }
    check_outputs(made, expected)
