"""Tasks to run, written with flytekit in the environment of tasks, and runners to run them with."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import identifier_pb2, literals_pb2, tasks_pb2, types_pb2

from app.blobs import Blobs
from app.engine.local.graph import unique_ids
from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import Failed, Outcome, Succeeded, TaskAttempt
from app.settings import Settings
from app.system import system
from tests.engine import environment as environments

FLOWS = Path(__file__).parent / "flows"


@pytest.fixture(scope="session")
def environment() -> Path:
    """A virtual environment with flytekit: the one that FLYTEADMIN_TEST_ENVIRONMENT names, else one made once."""
    return environments.path()


@pytest.fixture(scope="session")
def serialize(environment: Path) -> Callable[..., None]:
    """Writes the templates of all tasks of a module into a folder, as `pyflyte register` would send them."""

    def serialize(module: str, source: Path, folder: Path, distribution: str = "") -> None:
        command = [str(environment / "bin" / "python"), str(FLOWS / "serialize.py"), module, str(folder), distribution]
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(command, env=variables, check=True, timeout=120)

    return serialize


@pytest.fixture(scope="session")
def templates(serialize: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the templates of flows/example.py."""
    folder = tmp_path_factory.mktemp("templates")
    serialize("example", FLOWS, folder)
    return folder


class Bench:
    """A home, a store and a runner below one temporary folder; makes attempts of the example tasks."""

    def __init__(self, folder: Path, templates: Path, environment: Path, **local: Any) -> None:
        self.folder = folder
        self.templates = templates
        self.settings = Settings.model_validate(
            {
                "home": folder / "home",
                "storage": {"url": str(folder / "store")},
                "engine": {"local": {"environment": str(environment), "python_path": str(FLOWS)} | local},
            }
        )
        self.blobs = Blobs(self.settings)

    def runner(self) -> AbstractAsyncContextManager[TaskRunner]:
        """A runner that is closed in the end."""

        @asynccontextmanager
        async def opened() -> Any:
            runner = TaskRunner(self.settings, self.blobs, progress=print)
            try:
                yield runner
            finally:
                await runner.close()

        return opened()

    def template(self, name: str) -> tasks_pb2.TaskTemplate:
        return tasks_pb2.TaskTemplate.FromString((self.templates / f"{name}.pb").read_bytes())

    def attempt(
        self,
        task: str | tasks_pb2.TaskTemplate,
        inputs: dict[str, Any] | None = None,
        *,
        node: str = "n0",
        attempt: int = 0,
        **more: Any,
    ) -> TaskAttempt:
        """An attempt of a task of the example, or of any template; its inputs are written to the store."""
        template = self.template(task) if isinstance(task, str) else task
        name = unique_ids.generated_name("ex1", node, attempt)
        data = Path(self.blobs.base) / "metadata" / "p-d-ex1" / node / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / "inputs.pb").write_bytes(literal_map(inputs or {}).SerializeToString())
        raw = f"{self.blobs.base}/raw/{unique_ids.shard(name)}/{name}"
        return TaskAttempt(
            execution=identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name="ex1"),
            workflow_name="example.wf",
            task=template,
            node_unique_id=node,
            attempt=attempt,
            generated_name=name,
            directory=self.settings.home_path / "attempts" / name,
            input_uri=str(data / "inputs.pb"),
            output_prefix=str(data / str(attempt)),
            raw_output_prefix=raw,
            checkpoint_prefix=f"{raw}/_flytecheckpoints",
            namespace="p-d",
            **more,
        )


async def run(runner: TaskRunner, attempt: TaskAttempt) -> Outcome:
    """From the beginning to the end."""
    return await runner.wait(await runner.start(await runner.prepare(attempt)))


def literal_map(values: dict[str, Any]) -> literals_pb2.LiteralMap:
    """Literals of plain values."""
    result = literals_pb2.LiteralMap()
    for name, value in values.items():
        result.literals[name].CopyFrom(literal(value))
    return result


def literal(value: Any) -> literals_pb2.Literal:
    """The literal of a plain value."""
    result = literals_pb2.Literal()
    match value:
        case literals_pb2.Literal():
            return value
        case bool():
            result.scalar.primitive.boolean = value
        case int():
            result.scalar.primitive.integer = value
        case float():
            result.scalar.primitive.float_value = value
        case str():
            result.scalar.primitive.string_value = value
        case list():
            result.collection.literals.extend(map(literal, value))
            result.collection.SetInParent()
        case dict():
            result.map.CopyFrom(literal_map(value))
        case None:
            result.scalar.none_type.SetInParent()
        case _:
            raise AssertionError(f"no literal for {value!r}")
    return result


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB; only an administrator can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def bench(tmp_path: Path, templates: Path, environment: Path) -> Iterator[Callable[..., Bench]]:
    """Makes a bench with settings of the local engine."""

    def make(**local: Any) -> Bench:
        return Bench(tmp_path, templates, local.pop("environment", environment), **local)

    return make


def script(text: str, *, outputs: tuple[str, ...] = (), name: str = "script") -> tasks_pb2.TaskTemplate:
    """A container task that runs a line of shell; its outputs, if any, are declared as integers."""
    template = tasks_pb2.TaskTemplate(type="container")
    template.id.name = name
    template.container.args.extend(["/bin/sh", "-c", text])
    for output in outputs:
        template.interface.outputs.variables[output].type.simple = types_pb2.INTEGER
    return template


def with_runner(bench: Bench, main: Callable[[TaskRunner], Awaitable[None]]) -> None:
    """Run main with a runner that is closed afterwards."""

    async def opened() -> None:
        async with bench.runner() as runner:
            await main(runner)

    asyncio.run(opened())


def check_outputs(made: Bench, expected: dict[str, str]) -> None:
    """Run tasks by name, and compare the text that each returns."""

    async def main(runner: TaskRunner) -> None:
        for task, text in expected.items():
            attempt = made.attempt(task, node=task)
            outcome = await run(runner, attempt)
            assert isinstance(outcome, Succeeded), (outcome, attempt.log_path.read_text())
            assert outcome.outputs.literals["o0"].scalar.primitive.string_value == text

    with_runner(made, main)


def outcome_of(bench: Bench, attempt: TaskAttempt) -> Outcome:
    """Run one attempt from its beginning to its end; its private directories must be removed."""
    outcomes: list[Outcome] = []

    async def main(runner: TaskRunner) -> None:
        outcomes.append(await run(runner, attempt))

    with_runner(bench, main)
    assert sorted(os.listdir(attempt.directory)) == ["exit.json", "log", "process.json"]
    return outcomes[0]


def failure_of(bench: Bench, attempt: TaskAttempt) -> Failed:
    outcome = outcome_of(bench, attempt)
    assert isinstance(outcome, Failed), outcome
    return outcome


def running_pids(pids: list[int]) -> list[int]:
    return [pid for pid in pids if system.stamp(pid)]


async def until_ended(pids: list[int]) -> None:
    """Wait until none of these processes runs."""
    deadline = time.monotonic() + 20
    while running_pids(pids):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def printed(attempt: TaskAttempt, text: str, seconds_max: float = 30.0) -> None:
    """Wait until the attempt has printed something."""
    deadline = time.monotonic() + seconds_max
    while text not in (attempt.log_path.read_text() if attempt.log_path.exists() else ""):
        assert time.monotonic() < deadline, f"{text!r} was not printed"
        await asyncio.sleep(0.02)
